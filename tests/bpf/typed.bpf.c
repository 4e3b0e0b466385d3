// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/* Maps whose keys and values have types of every kind that BTF has for data. No programs. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

enum state {
	CLOSED = 0,
	OPEN = 1,
	BROKEN = 40000,
};

struct flow_key {
	__be32 saddr;
	__be16 sport;
	__u16 zone;
};

struct counts {
	__u64 packets;
	__u64 bytes;
};

struct flow_value {
	struct counts rx;
	struct counts tx;
	__s32 balance;
	enum state state;
	_Bool alive;
	unsigned char mac[6];
	char name[8];
	__u16 slots[4];
	union {
		__u32 word;
		__u16 halves[2];
	};
	__u32 low : 3;
	__u32 high : 29;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct flow_key);
	__type(value, struct flow_value);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct counts);
} per_cpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, __s64);
} recent SEC(".maps");

char LICENSE[] SEC("license") = "Dual MIT/GPL";
