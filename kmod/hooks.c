// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <linux/ftrace.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include "hooks.h"
#include "pager.h"

/* Which thread tests, and what it has seen so far. A lost update only means another test. */
static struct task_struct *hooks_tester;
static bool hooks_zap_seen, hooks_move_seen;

static void notrace hooks_zap(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
			      struct ftrace_regs *fregs)
{
	struct pt_regs *regs = ftrace_get_regs(fregs);

	if (!regs)
		return;
	if (READ_ONCE(hooks_tester) == current)
		WRITE_ONCE(hooks_zap_seen, true);
	/* (vma, address, size, details) */
	pager_zap((struct vm_area_struct *)regs->di, regs->si, regs->dx);
}

static void notrace hooks_move(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
			       struct ftrace_regs *fregs)
{
	struct pt_regs *regs = ftrace_get_regs(fregs);

	if (!regs)
		return;
	if (READ_ONCE(hooks_tester) == current)
		WRITE_ONCE(hooks_move_seen, true);
	/* (vma, old_addr, new_vma, new_addr, len, ...) */
	pager_move((struct vm_area_struct *)regs->di, regs->si, (struct vm_area_struct *)regs->dx,
		   regs->cx, regs->r8);
}

/* PERMANENT: the sysctl kernel.ftrace_enabled can not silence these while they are registered. */
static struct ftrace_ops hooks_zap_ops = {
	.func = hooks_zap,
	.flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_PERMANENT,
};

static struct ftrace_ops hooks_move_ops = {
	.func = hooks_move,
	.flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_PERMANENT,
};

static int hooks_register(struct ftrace_ops *ops, char *name)
{
	int ret;

	ret = ftrace_set_filter(ops, (unsigned char *)name, strlen(name), 1);
	if (!ret)
		ret = register_ftrace_function(ops);
	if (ret) {
		pr_err("mitosis: cannot hook %s (%d): the kernel needs CONFIG_DYNAMIC_FTRACE_WITH_REGS, and kernel.ftrace_enabled=1 while the module is loaded\n",
		       name, ret);
		ftrace_free_filter(ops);
	}
	return ret;
}

static void hooks_unregister(struct ftrace_ops *ops)
{
	unregister_ftrace_function(ops);
	ftrace_free_filter(ops);
}

void hooks_selftest_begin(void)
{
	if (hooks_ok())
		return;
	WRITE_ONCE(hooks_zap_seen, false);
	WRITE_ONCE(hooks_move_seen, false);
	WRITE_ONCE(hooks_tester, current);
}

bool hooks_ok(void)
{
	return READ_ONCE(hooks_zap_seen) && READ_ONCE(hooks_move_seen);
}

int hooks_init(void)
{
	int ret;

	ret = hooks_register(&hooks_zap_ops, "zap_page_range_single");
	if (ret)
		return ret;
	ret = hooks_register(&hooks_move_ops, "move_page_tables");
	if (ret)
		hooks_unregister(&hooks_zap_ops);
	return ret;
}

void hooks_exit(void)
{
	hooks_unregister(&hooks_move_ops);
	hooks_unregister(&hooks_zap_ops);
}
