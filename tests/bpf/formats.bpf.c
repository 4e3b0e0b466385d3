// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/* Maps whose entries are printed and read back in every format. The program does nothing. */
#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

typedef char letter;

enum state {
	CLOSED = 0,
	OPEN = 1,
	BROKEN = -7,
};

enum large {
	SMALL = 1,
	LARGE = 0x1234567890,
};

struct flow_key {
	__be32 saddr;
	__be16 sport;
	__u16 zone;
};

struct point {
	__s16 x;
	__s64 y;
};

/* What bpftool prints right. */
struct flow {
	__u64 packets;
	__s64 delta;
	__s32 balance;
	__u16 small;
	__s16 less;
	__u8 tiny;
	__s8 least;
	char mark;
	bool alive;
	enum state state;
	enum large large;
	char name[8];
	const char title[6];
	letter letters[4];
	unsigned char mac[6];
	__be64 cookie;
	unsigned __int128 huge;
	struct point at;
	struct point path[2];
	__u8 grid[2][3];
	void *task;
	union {
		__u32 word;
		__u16 halves[2];
	};
	union {
		__u8 bytes[4];
		struct {
			__u16 low;
			__u16 high;
		};
	} either;
	struct {
		__u32 inner;
	};
	__u32 flags : 3;
	__u32 rest : 29;
	__u64 wide : 40;
	_Bool up : 1;
};

/* What it prints wrong. */
struct odd {
	float single;
	double twice;
	__s32 minus : 5;
	__s64 lower : 40;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct flow);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct flow_key);
	__type(value, struct point);
} cpu_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} cpu_array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, char[16]);
	__type(value, enum state);
} recent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct point);
} cpu_recent SEC(".maps");

struct prefix {
	__u32 bits;
	__u8 address[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, struct point);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct odd);
} oddities SEC(".maps");

__u64 seen = 5;
struct point origin = { -1, -2 };
char label[8] = "a b";

SEC("socket")
int filter(void *ctx)
{
	return seen + origin.x + label[0];
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
