// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/* Programs that the verifier takes long for: each of 16 choices leads to a place of its own, so that no
   two ways to the end are the same to it. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u8[1 << 16]);
} bytes SEC(".maps");

/* What the compiler cannot see through stays a branch. */
#define CHOICE(n)                                     \
	if (bpf_get_prandom_u32() & 1) {              \
		place += 1 << (n);                    \
		asm volatile("" : "+r"(place));       \
	}

#define SLOW(name)                                                                          \
	SEC("socket")                                                                       \
	int name(struct __sk_buff *skb)                                                     \
	{                                                                                   \
		__u32 key = 0, place = 0;                                                   \
		__u8 *value = bpf_map_lookup_elem(&bytes, &key);                            \
                                                                                            \
		if (!value)                                                                 \
			return 0;                                                           \
		CHOICE(0) CHOICE(1) CHOICE(2) CHOICE(3) CHOICE(4) CHOICE(5) CHOICE(6)       \
		CHOICE(7) CHOICE(8) CHOICE(9) CHOICE(10) CHOICE(11) CHOICE(12) CHOICE(13)   \
		CHOICE(14) CHOICE(15)                                                      \
		return value[place & 0xffff];                                               \
	}

SLOW(slow0)
SLOW(slow1)
SLOW(slow2)

char LICENSE[] SEC("license") = "Dual MIT/GPL";
