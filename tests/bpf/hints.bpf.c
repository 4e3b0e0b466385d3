// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/* A map whose author says how its numbers are to be shown. No programs. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#define bpfgate(text) __attribute__((btf_decl_tag("bpfgate:" text)))

typedef __u32 ipv4_t bpfgate("ipv4");

struct peer {
	ipv4_t source;
	__u32 mark bpfgate("hex");
};

struct path {
	ipv4_t hops[2];
	__u8 router[6] bpfgate("mac");
	__u16 length;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct peer);
	__type(value, struct path);
} paths SEC(".maps");

char LICENSE[] SEC("license") = "Dual MIT/GPL";
