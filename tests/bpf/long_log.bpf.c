// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/* A program that the verifier follows for long before it refuses it: its log is long, too. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

#define STEP(number)                                   \
	key = (number);                                \
	count = bpf_map_lookup_elem(&counts, &key);    \
	if (count)                                     \
		sum += *count * (number) + skb->len

#define STEPS(first)      \
	STEP(first);      \
	STEP(first + 1);  \
	STEP(first + 2);  \
	STEP(first + 3)

SEC("socket")
int winding(struct __sk_buff *skb)
{
	__u64 *count = 0;
	__u64 sum = 0;
	__u32 key;

	STEPS(0);
	STEPS(4);
	STEPS(8);
	STEPS(12);
	/* It may be NULL. */
	return sum + *count;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
