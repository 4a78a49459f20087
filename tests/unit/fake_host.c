/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A slurmstepd of a few hundred lines: it answers the SPANK calls of one plugin as told, runs the
 * hooks in Slurm's order, and tells everything that it saw.
 *
 * usage: fake_host PLUGIN [WORD ...] <orders >report; the SPANK calls themselves are in fake_slurm.c
 *
 * Orders and report are NUL-terminated texts, since values may hold every other byte: an order is
 * `key=value` (see fake_host.h), a line of the report `kind:text` (see plugin_host.py).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_host.h"

#define REPORT_DESCRIPTOR 50

typedef int hook_f(spank_t spank, int argc, char **argv);

struct host host = { .remote = 1, .tasks = 1, .speed = 1, .reporter = "" };

void report(const char *kind, const char *format, ...)
{
	char *text, *line;
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (length >= 0)
		length = asprintf(&line, "%s%s:%s", host.reporter, kind, text);
	if (length < 0)
		abort();
	for (int sent = 0; sent <= length;) {
		ssize_t count = write(REPORT_DESCRIPTOR, line + sent, length + 1 - sent);

		if (count < 0)
			abort();
		sent += count;
	}
	free(text);
	free(line);
}

bool holds(const struct list *list, const char *text)
{
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->items[i], text) == 0)
			return true;
	}
	return false;
}

void append(struct list *list, const char *text)
{
	if (list->count + 1 >= MOST)
		abort();
	list->items[list->count++] = strdup(text);
	list->items[list->count] = NULL;
}

/* ---- What the host tells of itself ---- */

static void report_descriptors(const char *when, int hook)
{
	DIR *folder = opendir("/proc/self/fd");
	struct dirent *entry;
	char kind[64], path[300], target[4096];
	ssize_t length;

	snprintf(kind, sizeof(kind), "descriptor-%s", when);
	while ((entry = readdir(folder)) != NULL) {
		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		length = readlink(path, target, sizeof(target) - 1);
		if (length < 0 || atoi(entry->d_name) == dirfd(folder))
			continue;
		target[length] = 0;
		report(kind, "%d: %s %s", hook, entry->d_name, target);
	}
	closedir(folder);
}

/* SA_RESTORER of the kernel: the C library's own, once a handler was set, be it the same. */
#define RESTORER 0x04000000

/* What must be the same before and after a hook; 0 stands for all of them together. */
static void report_state(const char *when, int hook)
{
	static const char *const kept[] = { "SigBlk", "Umask", "Uid", "Gid",
					    "Groups", "CapEff", "NoNewPrivs" };
	char kind[64], line[4096], folder[4096];
	FILE *status = fopen("/proc/self/status", "r");
	struct sigaction action;
	struct rlimit limit;

	snprintf(kind, sizeof(kind), "state-%s", when);
	while (fgets(line, sizeof(line), status) != NULL)
		for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
			if (strncmp(line, kept[i], strlen(kept[i])) == 0)
				report(kind, "%d: %s", hook, line);
	fclose(status);
	for (int number = 1; number < NSIG; number++)
		if (sigaction(number, NULL, &action) == 0)
			report(kind, "%d: signal %d %p %#x", hook, number,
			       (void *)action.sa_sigaction, action.sa_flags & ~RESTORER);
	report(kind, "%d: cwd %s", hook, getcwd(folder, sizeof(folder)));
	report(kind, "%d: locale %s", hook, setlocale(LC_ALL, NULL));
	for (int each = 0; each < RLIMIT_NLIMITS; each++) {
		getrlimit(each, &limit);
		report(kind, "%d: limit %d %ld %ld", hook, each, (long)limit.rlim_cur,
		       (long)limit.rlim_max);
	}
	for (char **entry = environ; *entry != NULL; entry++)
		report(kind, "%d: environ %s", hook, *entry);
	report_descriptors(when, hook);
}

/* ---- Orders ---- */

#define TAKE(name, order)                                                                          \
	if (strcmp(line, #name) == 0) {                                                            \
		order;                                                                             \
		continue;                                                                          \
	}
#define TAKE_ITEM(name) TAKE(name, append(&host.name, value))
#define TAKE_NUMBER(name) TAKE(name, host.name = strtoul(value, NULL, 0))

static void read_orders(void)
{
	char *line = NULL, *value;
	size_t size = 0;

	while (getdelim(&line, &size, 0, stdin) > 0) {
		value = strchr(line, '=');
		*value++ = 0;
		LISTS(TAKE_ITEM)
		NUMBERS(TAKE_NUMBER)
		fprintf(stderr, "fake_host: unknown order %s\n", line);
		exit(2);
	}
	free(line);
}

/* ---- The life of a step ---- */

static void set_up_as_a_daemon(void)
{
	sigset_t blocked;

	/* The worker must not inherit any of this, and the plugin must leave it alone. */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGHUP);
	sigaddset(&blocked, SIGUSR2);
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	setlocale(LC_ALL, "C.UTF-8");
	umask(0027);
	for (size_t i = 0; i < host.closed.count; i++)
		close(atoi(host.closed.items[i]));
}

static void run_hook(void *plugin, const char *name)
{
	static int hooks;
	hook_f *hook = (hook_f *)dlsym(plugin, name);
	struct list *lines[] = { &host.arguments, &host.second_line };

	if (hook == NULL)
		report("hook", "%s missing", name);
	for (unsigned int i = 0; hook != NULL && i <= host.is_listed_twice; i++) {
		report_state("before", ++hooks);
		report("hook", "%s %d", name, hook(NULL, lines[i]->count, lines[i]->items));
		report_state("after", hooks);
	}
}

static void give_options(struct list *values, struct spank_option *option)
{
	for (size_t i = 0; i < values->count; i++)
		report("callback", "%d", option->cb(0, values->items[i], host.remote));
}

static void run_tasks(void *plugin)
{
	int status;
	pid_t pid;

	for (host.task = 0; host.task < (int)host.tasks; host.task++) {
		pid = fork();
		if (pid == 0) {
			host.reporter = "task-";
			run_hook(plugin, "slurm_spank_task_init");
			for (unsigned int i = 0; i < host.submits; i++)
				submit();
			_exit(0);
		}
		waitpid(pid, &status, 0);
		report("task", "%d", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
	}
}

/* As slurmstepd does it: the task that ends is reaped, others may wait for that. */
static void end_tasks(void *plugin)
{
	siginfo_t ended;
	pid_t pid;

	if (dlsym(plugin, "slurm_spank_task_exit") == NULL || host.remote != 1)
		return;
	for (host.task = 0; host.task < (int)host.tasks; host.task++) {
		host.status = 0;
		if (host.task < (int)host.statuses.count)
			host.status = atoi(host.statuses.items[host.task]);
		pid = host.task + 1 == (int)host.unreaped ? fork() : -1;
		if (pid == 0)
			_exit(0);
		if (pid > 0)
			waitid(P_PID, pid, &ended, WEXITED | WNOWAIT);
		run_hook(plugin, "slurm_spank_task_exit");
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
}

int main(int argc, char **argv)
{
	void *plugin;

	if (argc < 2 || dup3(1, REPORT_DESCRIPTOR, O_CLOEXEC) < 0)
		return 2;
	read_orders();
	if (host.states.count == 0)
		append(&host.states, "silent");
	set_up_as_a_daemon();
	plugin = dlopen(argv[1], RTLD_LAZY);
	if (plugin == NULL) {
		report("dlopen", "%s", dlerror());
		return 1;
	}
	report_state("before", 0);
	if (host.is_epilog) {
		/* A process of its own, which no other hook has prepared. */
		run_hook(plugin, "slurm_spank_job_epilog");
	} else {
		run_hook(plugin, "slurm_spank_init");
		give_options(&host.options, &host.registered[0]);
		give_options(&host.second_options, &host.registered[1]);
		run_hook(plugin, "slurm_spank_init_post_opt");
		run_tasks(plugin);
		end_tasks(plugin);
		run_hook(plugin, "slurm_spank_exit");
	}
	/* What the plugin still holds is lost from here on. */
	dlclose(plugin);
	report_state("after", 0);
	report("children", "%d", waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : 1);
	return 0;
}
