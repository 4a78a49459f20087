/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The host of tests/unit/fake_slurm.c for fuzzing: what it would report is checked instead.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_host.h"

struct host host = { .speed = 1, .reporter = "" };

static bool is_control(char byte)
{
	return (unsigned char)byte < 32 || byte == 127;
}

/* A line that could end early would forge the next one. */
static void require_one_line(const char *text)
{
	for (; *text != 0; text++) {
		if (is_control(*text))
			abort();
	}
}

static void require_variable(const char *text)
{
	const char *equals = strchr(text, '=');

	if (equals == NULL || equals == text)
		abort();
	for (; text < equals; text++) {
		if (is_control(*text) || *text == ' ')
			abort();
	}
}

void report(const char *kind, const char *format, ...)
{
	char *text;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		abort();
	va_end(arguments);
	if (strncmp(kind, "log-", 4) == 0)
		require_one_line(text);
	else if (strcmp(kind, "set") == 0)
		require_variable(text);
	free(text);
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
		return;
	list->items[list->count++] = strdup(text);
	list->items[list->count] = NULL;
}
