// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/* Maps whose types say in tags what they count, as docs/counters.md describes. No programs. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#define BPFGATE(what) __attribute__((btf_decl_tag("bpfgate:" what)))

typedef __u32 protocol_number BPFGATE("protocol");

struct io_key {
	__u32 uid BPFGATE("user");
	protocol_number protocol;
};

struct io_stats {
	__u64 bytes BPFGATE("counter=By");
	__u64 open BPFGATE("gauge=files");
	__u32 sizes[8] BPFGATE("histogram=By");
	__u64 plain;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct io_key);
	__type(value, struct io_stats);
} io SEC(".maps");

/* Tags within the elements of an array, and some that cannot be. */
struct queue {
	__u64 bytes BPFGATE("counter=By");
	__u64 open;
	__u32 sizes[4] BPFGATE("histogram=By");
};

struct odd_stats {
	struct queue queues[2];
	__u64 single BPFGATE("histogram");
	__u64 wide[65] BPFGATE("histogram");
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct odd_stats);
} odd SEC(".maps");

char LICENSE[] SEC("license") = "Dual MIT/GPL";
