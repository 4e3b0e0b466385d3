// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/*
 * syscall-counters: system calls on the whole host, by number.
 *
 * 32-bit processes have a table of numbers of their own, so their calls have a map of their own;
 * in one map number 4 would be stat and write at once. They are told apart on x86 (by the code
 * segment: a 64-bit process that enters by `int 0x80` passes for native) and arm64 (by the mode bit);
 * elsewhere every call is taken for native. Calls of the x32 ABI keep their bit 0x40000000.
 *
 * Numbers come from unprivileged processes, which may pass anything: all that no table has are counted
 * under 0xffffffff, so that nobody can fill the maps.
 */
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/types.h>

#include <asm/ptrace.h>

#include <bpf/bpf_helpers.h>

/* Above every table: x86-64 and arm64 end below 512. */
#define NUMBERS 1024
#define X32_BIT 0x40000000
#define NO_SUCH_NUMBER 0xffffffff

struct syscall_map {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	/* Twice for x32, and NO_SUCH_NUMBER. */
	__uint(max_entries, 2 * NUMBERS + 1);
	__type(key, __u32);
	__type(value, __u64);
};

struct syscall_map syscalls SEC(".maps");
struct syscall_map compat_syscalls SEC(".maps");

/* Calls that were not counted: the map's bucket was locked by the call that this CPU is in. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} missed SEC(".maps");

static __always_inline int is_compat(const struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	const unsigned char user32_cs = 0x23;
	unsigned long cs = 0;

	bpf_probe_read_kernel(&cs, sizeof(cs), &regs->cs);
	/* Xen's segments are 0xe0 in the next byte, and the same in this one. */
	return (cs & 0xff) == user32_cs;
#elif defined(__TARGET_ARCH_arm64)
	const __u64 mode32_bit = 0x10;
	__u64 pstate = 0;

	/* The kernel's pt_regs begins with the one that user space knows. */
	bpf_probe_read_kernel(&pstate, sizeof(pstate),
			      &((const struct user_pt_regs *)regs)->pstate);
	return (pstate & mode32_bit) != 0;
#else
	return 0;
#endif
}

static __always_inline void count(void *map, __u32 number)
{
	__u64 *calls = bpf_map_lookup_elem(map, &number);

	if (!calls) {
		const __u64 none = 0;

		/* It may fail because another CPU was first: only the second lookup tells. */
		bpf_map_update_elem(map, &number, &none, BPF_NOEXIST);
		calls = bpf_map_lookup_elem(map, &number);
	}
	if (!calls) {
		const __u32 only = 0;

		calls = bpf_map_lookup_elem(&missed, &only);
	}
	if (calls)
		(*calls)++;
}

SEC("raw_tp/sys_enter")
int count_syscalls(struct bpf_raw_tracepoint_args *ctx)
{
	const struct pt_regs *regs = (const struct pt_regs *)ctx->args[0];
	__u32 number = ctx->args[1];

	if ((number & ~X32_BIT) >= NUMBERS)
		number = NO_SUCH_NUMBER;

	if (is_compat(regs))
		count(&compat_syscalls, number);
	else
		count(&syscalls, number);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
