/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plays a run to the plugin's window.c, and says what that makes of it; see test_windows.py. */
#include "config.h"
#include "state.h"
#include "window.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Stand in for phases.c and probe.c. */
void phase_mark(struct vcpu *v, bool is_begin, uint16_t number)
{
    (void)v;
    printf("%s %u\n", is_begin ? "open" : "close", number);
}

void probe_finish(struct vcpu *v, bool complete)
{
    (void)v;
    printf("finish %d\n", complete);
}

static void write_console(const char *path, const char *text) /* with \n and \r written so */
{
    FILE *f = fopen(path, "a");
    for (; f && *text; text++)
        if (text[0] == '\\' && (text[1] == 'n' || text[1] == 'r'))
            fputc(*++text == 'n' ? '\n' : '\r', f);
        else
            fputc(*text, f);
    if (f)
        fclose(f);
}

/* CONFIG CONSOLE; lines of what happens come in. */
int main(int argc, char **argv)
{
    struct vcpu *v = vcpus;
    char text[9000];
    if (argc != 3 || !config_read(&config, argv[1]) || !window_prepare(argv[2]))
        return 1;
    v->thread = threads_new(0x1000, ROLE_MAIN);
    while (fgets(text, sizeof text, stdin)) {
        uint64_t addr;
        unsigned process;
        text[strcspn(text, "\n")] = 0;
        if (sscanf(text, "arm %" SCNx64, &addr) == 1 && window_arms_at(addr)) {
            window_armed_at(addr);
        } else if (!strcmp(text, "first")) {
            window_first_block(v);
        } else if (sscanf(text, "reach %" SCNx64 " %u", &addr, &process) == 2) {
            v->thread->process = process;
            if (window_trigger(addr))
                window_reached(v, addr);
        } else if (!strncmp(text, "say ", 4)) {
            write_console(argv[2], text + 4);
            window_listen(v);
        } else if (!strncmp(text, "boot ", 5)) {
            write_console(argv[2], text + 5);
        } else if (!strcmp(text, "ended")) {
            window_ended(v);
        } else {
            printf("nothing\n");
        }
    }
    const struct window_state *s = window_state();
    printf("%d%d%d\n", s->armed, s->opened, s->closed);
    return 0;
}
