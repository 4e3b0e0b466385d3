// A program that adapts to the running kernel's types.
#include <linux/bpf.h>
#include <stddef.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

struct task_struct {
	int pid;
	int no_such_field;
} __attribute__((preserve_access_index));

__u64 total;

SEC("raw_tp/sched_switch")
int on_switch(struct bpf_raw_tracepoint_args *args)
{
	struct task_struct *task = (struct task_struct *)args->args[1];

	if (bpf_core_field_exists(task->no_such_field))
		total += BPF_CORE_READ(task, no_such_field);
	if (bpf_core_field_exists(task->pid))
		total += BPF_CORE_READ(task, pid);
	total += bpf_core_type_size(struct task_struct);
	return 0;
}

char _license[] SEC("license") = "GPL";
