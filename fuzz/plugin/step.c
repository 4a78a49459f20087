/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The life of a step with any options, arguments and environment, and with a worker that answers
 * any bytes. No process is started: the calls that would do so are taken over (-Wl,--wrap).
 *
 * The input is NUL-terminated orders, an empty one, and the worker's answer. An order is a letter
 * and a text, see take_order.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_host.h"

#define WORKER_PID 4242
#define MOST_TASKS 16

extern void forget_step(void);
extern int slurm_spank_init(spank_t spank, int argc, char **argv);
extern int slurm_spank_init_post_opt(spank_t spank, int argc, char **argv);
extern int slurm_spank_task_init(spank_t spank, int argc, char **argv);
extern int slurm_spank_task_exit(spank_t spank, int argc, char **argv) __attribute__((weak));
extern int slurm_spank_exit(spank_t spank, int argc, char **argv);
extern int slurm_spank_job_epilog(spank_t spank, int argc, char **argv) __attribute__((weak));

typedef int hook_f(spank_t spank, int argc, char **argv);

static struct {
	const uint8_t *answer;
	size_t answer_size;
	char *complaint;
	unsigned int start_error, status;
	int channel, stderr_end; /* as they are at the moment of the start */
	bool is_reaped;
} worker;

static jmp_buf end_of_task;

/* ---- The worker ---- */

int __wrap_posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int from, int to)
{
	(void)actions;
	if (to == 2)
		worker.stderr_end = from;
	else
		worker.channel = from;
	return 0;
}

int __wrap_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
		       const posix_spawnattr_t *attributes, char *const argv[], char *const environment[])
{
	ssize_t ignored;

	(void)path, (void)actions, (void)attributes;
	if (strcmp(argv[1], "-I") != 0 || strcmp(argv[2], "-m") != 0 || environment[0] == NULL)
		abort();
	if (worker.start_error != 0)
		return worker.start_error;
	*pid = WORKER_PID;
	worker.is_reaped = false;
	ignored = send(worker.channel, worker.answer, worker.answer_size, MSG_DONTWAIT);
	if (worker.complaint != NULL)
		ignored = write(worker.stderr_end, worker.complaint, strlen(worker.complaint));
	(void)ignored;
	return 0;
}

int __wrap_kill(pid_t pid, int signal)
{
	(void)signal;
	if (abs(pid) != WORKER_PID || worker.is_reaped)
		abort(); /* It would have met another process. */
	return 0;
}

int __wrap_waitid(idtype_t type, id_t id, siginfo_t *information, int options)
{
	if (type == P_ALL) {
		information->si_pid = (int)host.unreaped == host.task + 1 ? 1 : 0;
		return 0;
	}
	if (id != WORKER_PID || worker.is_reaped)
		abort();
	information->si_pid = options & WEXITED ? WORKER_PID : 0;
	return 0;
}

pid_t __wrap_waitpid(pid_t pid, int *status, int options)
{
	(void)options;
	if (pid != WORKER_PID || worker.is_reaped)
		abort();
	worker.is_reaped = true;
	*status = worker.status;
	return pid;
}

void __wrap__exit(int status)
{
	longjmp(end_of_task, 1 + status);
}

/* ---- Orders ---- */

static const struct {
	char letter;
	struct list *list;
} lists[] = {
	{ 'o', &host.options },	    { 'p', &host.second_options }, { 'a', &host.arguments },
	{ 'e', &host.environment }, { 's', &host.states },	   { 'c', &host.command },
	{ 'm', &host.missing },	    { 'u', &host.unsettable },	   { 'f', &host.statuses },
};

static const struct {
	char letter;
	unsigned int *number;
} numbers[] = {
	{ 'i', &host.step_id },	     { 'j', &host.job_id },	     { 'h', &host.het_job_id },
	{ 'd', &host.node_index },   { 't', &host.tasks },	     { 'r', &host.remote },
	{ 'R', &host.restart_count }, { 'l', &host.time_limit },     { 'k', &host.unreaped },
	{ 'n', &host.is_random_out }, { 'E', &host.is_epilog },	     { 'S', &host.submits },
	{ 'x', &worker.start_error }, { 'w', &worker.status },	     { 'g', &host.register_error },
};

static void take_order(const char *order)
{
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (*order == lists[i].letter)
			append(lists[i].list, order + 1);
	}
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (*order == numbers[i].letter)
			*numbers[i].number = strtoul(order + 1, NULL, 0);
	}
	if (*order == 'y' && worker.complaint == NULL)
		worker.complaint = strdup(order + 1);
}

static void take_orders(const uint8_t *data, size_t size)
{
	const uint8_t *end;

	while (size > 0 && *data != 0 && (end = memchr(data, 0, size)) != NULL) {
		take_order((const char *)data);
		size -= end + 1 - data;
		data = end + 1;
	}
	worker.answer = size > 0 ? data + 1 : NULL;
	worker.answer_size = size > 0 ? size - 1 : 0;
}

/* ---- The life of a step, as tests/unit/fake_host.c has it ---- */

static void begin(void)
{
	host.remote = 1;
	host.job_id = 7;
	host.step_id = SLURM_BATCH_SCRIPT;
	host.tasks = 1;
	host.submits = 1;
	host.time_limit = 60;
}

static void run(hook_f *hook)
{
	if (hook(NULL, host.arguments.count, host.arguments.items) != 0)
		abort();
}

static void give_options(const struct list *values, const struct spank_option *option)
{
	for (size_t i = 0; i < values->count && option->cb != NULL; i++)
		option->cb(0, values->items[i], host.remote);
}

static void run_tasks(void)
{
	if (host.tasks > MOST_TASKS)
		host.tasks = MOST_TASKS;
	for (host.task = 0; host.task < (int)host.tasks; host.task++) {
		if (setjmp(end_of_task) == 0)
			run(slurm_spank_task_init);
		if (host.submits)
			submit();
	}
	for (host.task = 0; host.task < (int)host.tasks && slurm_spank_task_exit; host.task++) {
		host.status = 0;
		if (host.task < (int)host.statuses.count)
			host.status = atoi(host.statuses.items[host.task]);
		run(slurm_spank_task_exit);
	}
}

static void release_list(struct list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	list->count = 0;
}

static void end(void)
{
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		release_list(lists[i].list);
	free(worker.complaint);
	memset(&worker, 0, sizeof(worker));
	memset(&host, 0, sizeof(host));
	host.speed = 1;
	host.reporter = "";
	forget_step();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	begin();
	take_orders(data, size);
	if (host.states.count == 0)
		append(&host.states, "1");
	if (host.is_epilog && slurm_spank_job_epilog) {
		run(slurm_spank_job_epilog);
	} else {
		run(slurm_spank_init);
		give_options(&host.options, &host.registered[0]);
		give_options(&host.second_options, &host.registered[1]);
		run(slurm_spank_init_post_opt);
		if (host.remote == 1)
			run_tasks();
		run(slurm_spank_exit);
	}
	end();
	return 0;
}
