// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/* Global variables of every kind that a caller may set before the load. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

enum colour {
	RED = 1,
	GREEN = 7,
};

struct limits {
	__u16 low;
	__u16 high;
	__u8 address[4];
};

/* .rodata */
const volatile __u32 step = 1;
const volatile __s64 offset = -5;
const volatile char label[16] = "unset";
const volatile struct limits limits = { 1, 2, { 127, 0, 0, 1 } };
const volatile enum colour colour = RED;
const volatile _Bool enabled = 0;

/* .data */
__u64 total = 100;
__u32 table[3] = { 1, 2, 3 };

/* .bss */
__u64 seen;
static volatile __u16 hidden;

SEC("socket")
int add(struct __sk_buff *skb)
{
	if (enabled && colour == GREEN)
		total += step;
	seen++;
	table[0] += limits.low + label[0] + (offset < 0);
	hidden++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
