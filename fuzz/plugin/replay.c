/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * usage: TARGET FILE... - run the target with each file's content, where no fuzzer is.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		uint8_t *content;
		size_t size;

		if (file == NULL || fseek(file, 0, SEEK_END) != 0)
			return 2;
		size = ftell(file);
		rewind(file);
		/* No byte more, so that reading beyond the end is seen. */
		content = malloc(size > 0 ? size : 1);
		if (content == NULL || fread(content, 1, size, file) != size)
			return 2;
		fclose(file);
		/* Last on stderr if it fails. */
		fprintf(stderr, "%s\n", argv[i]);
		LLVMFuzzerTestOneInput(content, size);
		free(content);
	}
	return 0;
}
