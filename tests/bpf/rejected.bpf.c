// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/* A sound program, and one that the verifier must refuse: it writes through what may be NULL. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

SEC("socket")
int sound(struct __sk_buff *skb)
{
	return 0;
}

SEC("xdp")
int unsound(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&counts, &key);

	(*count)++;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
