// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/* Two hundred maps of one struct with 20,000 members; with KEYS each map has a struct of its own for
   its keys. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#define TEN(m, p) m(p##0) m(p##1) m(p##2) m(p##3) m(p##4) m(p##5) m(p##6) m(p##7) m(p##8) m(p##9)
#define MEMBER(p) __u32 p;
#define TENS(p) TEN(MEMBER, p)
#define HUNDREDS(p) TENS(p##0) TENS(p##1) TENS(p##2) TENS(p##3) TENS(p##4) \
	TENS(p##5) TENS(p##6) TENS(p##7) TENS(p##8) TENS(p##9)
#define THOUSANDS(p) HUNDREDS(p##0) HUNDREDS(p##1) HUNDREDS(p##2) HUNDREDS(p##3) HUNDREDS(p##4) \
	HUNDREDS(p##5) HUNDREDS(p##6) HUNDREDS(p##7) HUNDREDS(p##8) HUNDREDS(p##9)

struct wide {
	THOUSANDS(a) THOUSANDS(b) THOUSANDS(c) THOUSANDS(d) THOUSANDS(e)
	THOUSANDS(f) THOUSANDS(g) THOUSANDS(h) THOUSANDS(i) THOUSANDS(j)
	THOUSANDS(k) THOUSANDS(l) THOUSANDS(m) THOUSANDS(n) THOUSANDS(o)
	THOUSANDS(p) THOUSANDS(q) THOUSANDS(r) THOUSANDS(s) THOUSANDS(t)
};

#ifdef KEYS
#define KEY(name) struct key_##name
#define DECLARE_KEY(name) KEY(name) { __u32 name; };
#else
#define KEY(name) __u32
#define DECLARE_KEY(name)
#endif

#define MAP(name)                                     \
	DECLARE_KEY(name)                             \
	struct {                                      \
		__uint(type, BPF_MAP_TYPE_HASH);      \
		__uint(max_entries, 1);               \
		__uint(map_flags, BPF_F_NO_PREALLOC); \
		__type(key, KEY(name));               \
		__type(value, struct wide);           \
	} name SEC(".maps");
#define MAPS(p) TEN(MAP, p)

MAPS(m00) MAPS(m01) MAPS(m02) MAPS(m03) MAPS(m04) MAPS(m05) MAPS(m06) MAPS(m07) MAPS(m08) MAPS(m09)
MAPS(m10) MAPS(m11) MAPS(m12) MAPS(m13) MAPS(m14) MAPS(m15) MAPS(m16) MAPS(m17) MAPS(m18) MAPS(m19)

char LICENSE[] SEC("license") = "Dual MIT/GPL";
