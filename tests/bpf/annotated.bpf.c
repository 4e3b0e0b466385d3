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

char LICENSE[] SEC("license") = "Dual MIT/GPL";
