/* eyelet doctor: what this machine and this build can do, how fast, whether the kernels are right; whether a model, the
 * default one without -m, opens and fits. What could be better is a warning that says what to do. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "eyelet/experimental.h"
#include "json.h"
#include "machine.h"

struct doctor_opts {
    struct model_args model;
    bool json;
};

#define T struct doctor_opts
static const struct arg doctor_args[] = {
    MODEL_PATH_ARG(T),
    JSON_ARG(T),
    MODEL_ARGS(T),
    {ARG_END},
};
#undef T

#define MAX_WARNINGS 24
#define MAX_KERNELS 128
struct report {
    struct system sys;
    struct eye_machine machine;
    struct eye_speed speed;
    struct eye_self_check check;
    struct eye_kernel_choice kernel[MAX_KERNELS];
    size_t n_kernels;
    int32_t n_threads;
    const char *model_path;     /* NULL = none asked for, and no default one */
    bool is_default;
    char found[CLI_PATH_MAX];   /* the default model */
    struct eye_err none;        /* why there is none */
    struct eye_model *model;    /* NULL = it did not open */
    struct eye_model_info info;
    struct eye_memory memory;
    char warning[MAX_WARNINGS][256];
    int n_warnings;
};

static bool kernels_agree(const struct report *r) { return r->check.worst <= 1; }

/* ---- warnings ---- */

__attribute__((format(printf, 2, 3))) static void warn(struct report *r, const char *fmt, ...) {
    va_list ap;
    if (r->n_warnings == MAX_WARNINGS) return;
    va_start(ap, fmt);
    vsnprintf(r->warning[r->n_warnings++], sizeof r->warning[0], fmt, ap);
    va_end(ap);
}

static void judge_cpu(struct report *r) {
    const struct eye_machine *m = &r->machine;
    const char *mask = getenv("EYE_CPU");
    bool x86 = strcmp(r->sys.arch, "x86_64") == 0;
    if (x86 && !strstr(m->cpu_detected, "avx2"))
        warn(r, "this CPU has no AVX2 with FMA and F16C: plain C kernels run, many times slower; use a CPU of 2013 or later, "
                "or let the virtual machine pass these features on");
    if (m->cpu_unknown)
        warn(r, "EYE_CPU is \"%s\": a name in it is not known; write it like \"%s\", or \"base\"", mask, m->cpu_detected);
    if (strcmp(m->cpu_detected, m->cpu_allowed) != 0)
        warn(r, "EYE_CPU allows only %s of %s; unset it for full speed", m->cpu_allowed, m->cpu_detected);
    if (r->n_threads > m->n_cpus)
        warn(r, "%d threads, but this process may use %d processors: they wait for each other; use -t %d", r->n_threads,
             m->n_cpus, m->n_cpus);
    if (strcmp(r->sys.governor, "powersave") == 0 && r->sys.max_mhz > 0 && r->sys.mhz < 0.7 * r->sys.max_mhz)
        warn(r, "the CPU runs at %.0f of %.0f MHz (governor powersave); try: cpupower frequency-set -g performance", r->sys.mhz,
             r->sys.max_mhz);
    if (r->sys.temperature_c >= 85)
        warn(r, "%s is at %.0f °C: the CPU will slow down; cool it, or use fewer threads (-t)", r->sys.temperature_zone,
             r->sys.temperature_c);
#ifndef __OPTIMIZE__
    warn(r, "this program is built without optimisation; build it with meson setup --buildtype=release");
#endif
}

static void judge_rest(struct report *r) {
    const struct eye_machine *m = &r->machine;
    char need[32], free_text[32];
    if (strcmp(r->sys.huge_pages, "never") == 0)
        warn(r, "transparent huge pages are off, so packed weights lie in 4 KiB pages; try: echo madvise | sudo tee "
                "/sys/kernel/mm/transparent_hugepage/enabled");
    else if (r->sys.huge_pages[0] && r->speed.huge_known && r->speed.huge_bytes < r->speed.buffer_bytes / 2)
        warn(r, "memory is fragmented: few huge pages are left for packed weights; try: echo 1 | sudo tee "
                "/proc/sys/vm/compact_memory");
    if (!m->jpeg[0]) warn(r, "built without JPEG: install libjpeg-turbo's development package and build again");
    if (!m->png[0]) warn(r, "built without PNG: install libspng's development package and build again");
    if (!m->webp[0]) warn(r, "built without WebP: install libwebp's development package and build again");
    if (!kernels_agree(r))
        warn(r, "kernels differ from their reference (%s, %.3g times what rounding explains): results will be wrong; try "
                "EYE_CPU=base, and report this", r->check.worst_op, r->check.worst);
    if (r->model && r->sys.mem_free && r->memory.total > r->sys.mem_free)
        warn(r, "%s needs %s, %s is free: try --decoder q4_0 --vision bf16, or a smaller context (-c)", r->model_path,
             cli_bytes(r->memory.total, need, sizeof need), cli_bytes(r->sys.mem_free, free_text, sizeof free_text));
}

/* ---- JSON ---- */

static void put(json_t *o, const char *key, json_t *v) { json_object_set_new(o, key, v); }
static json_t *bytes_json(uint64_t v) { return json_integer((json_int_t)v); }
static json_t *text_or_null(const char *s) { return *s ? json_outside(s) : json_null(); }
static json_t *real_or_null(double v) { return v != 0 ? json_real(v) : json_null(); }

static json_t *cpu_json(const struct report *r) {
    json_t *o = json_object();
    put(o, "model", text_or_null(r->sys.cpu));
    put(o, "detected", json_string(r->machine.cpu_detected));
    put(o, "allowed", json_string(r->machine.cpu_allowed));
    put(o, "processors_online", json_integer(r->sys.n_online));
    put(o, "processors_affinity", json_integer(r->sys.n_affinity));
    put(o, "processors_cgroup", real_or_null(r->sys.cgroup_cpus));
    put(o, "processors_usable", json_integer(r->machine.n_cpus));
    put(o, "threads", json_integer(r->n_threads));
    put(o, "mhz", real_or_null(r->sys.mhz));
    put(o, "max_mhz", real_or_null(r->sys.max_mhz));
    put(o, "governor", text_or_null(r->sys.governor));
    put(o, "temperature_c", real_or_null(r->sys.temperature_c));
    return o;
}

static json_t *memory_json(const struct report *r) {
    json_t *o = json_object();
    put(o, "total_bytes", bytes_json(r->sys.mem_total));
    put(o, "available_bytes", bytes_json(r->sys.mem_available));
    put(o, "cgroup_max_bytes", r->sys.cgroup_mem_max ? bytes_json(r->sys.cgroup_mem_max) : json_null());
    put(o, "free_bytes", bytes_json(r->sys.mem_free));
    put(o, "huge_pages", text_or_null(r->sys.huge_pages));
    put(o, "test_buffer_bytes", bytes_json(r->speed.buffer_bytes));
    put(o, "test_buffer_huge_bytes", r->speed.huge_known ? bytes_json(r->speed.huge_bytes) : json_null());
    return o;
}

static json_t *speed_json(const struct report *r) {
    const struct eye_speed *s = &r->speed;
    json_t *o = json_object();
    put(o, "read_1_thread_gb_per_s", json_real(s->read_1_bytes_per_s / 1e9));
    put(o, "read_gb_per_s", json_real(s->read_bytes_per_s / 1e9));
    put(o, "gemm_f32_gflop_per_s", json_real(s->gemm_flop_per_s[EYE_SPEED_F32] / 1e9));
    put(o, "gemm_bf16_gflop_per_s", json_real(s->gemm_flop_per_s[EYE_SPEED_BF16] / 1e9));
    put(o, "gemm_q8_0_gflop_per_s", json_real(s->gemm_flop_per_s[EYE_SPEED_Q8_0] / 1e9));
    return o;
}

static json_t *model_json(const struct report *r) {
    json_t *o = json_object();
    put(o, "path", json_outside(r->model_path));
    put(o, "default", json_boolean(r->is_default));
    put(o, "opens", json_boolean(r->model));
    if (!r->model) return o;
    put(o, "architecture", json_string(r->info.architecture));
    put(o, "decoder", json_string(cli_weight_names[r->info.decoder_type]));
    put(o, "vision", json_string(cli_weight_names[r->info.vision_type]));
    put(o, "context", json_integer(r->info.n_ctx));
    put(o, "needed_bytes", bytes_json(r->memory.total));
    put(o, "fits", json_boolean(!r->sys.mem_free || r->memory.total <= r->sys.mem_free));
    return o;
}

static int print_json(struct ui *ui, const struct report *r) {
    json_t *root = json_object(), *images = json_object(), *kernels = json_object(), *check = json_object();
    json_t *warnings = json_array();
    put(images, "jpeg", text_or_null(r->machine.jpeg));
    put(images, "png", text_or_null(r->machine.png));
    put(images, "webp", text_or_null(r->machine.webp));
    for (size_t i = 0; i < r->n_kernels; i++) put(kernels, r->kernel[i].op, json_string(r->kernel[i].kernel));
    put(check, "agree", json_boolean(kernels_agree(r)));
    put(check, "results", json_integer(r->check.n_results));
    put(check, "worst", kernels_agree(r) ? json_real(r->check.worst) : json_null());
    put(check, "worst_op", text_or_null(r->check.worst_op));
    for (int i = 0; i < r->n_warnings; i++) json_array_append_new(warnings, json_outside(r->warning[i]));
    put(root, "version", json_string(eye_version()));
    put(root, "compiler", json_string(r->machine.compiler));
    put(root, "system", json_pack("{s:s,s:s,s:s}", "name", r->sys.name, "release", r->sys.release, "arch", r->sys.arch));
    put(root, "cpu", cpu_json(r));
    put(root, "memory", memory_json(r));
    put(root, "images", images);
    put(root, "speed", speed_json(r));
    put(root, "self_check", check);
    put(root, "kernels", kernels);
    put(root, "model", r->model_path ? model_json(r) : json_null());
    put(root, "warnings", warnings);
    return json_print(ui, root);
}

/* ---- text ---- */

static void print_cpu(const struct report *r) {
    const struct system *s = &r->sys;
    printf("cpu          %s", *s->cpu ? s->cpu : s->arch);
    if (s->mhz > 0) printf(", %.0f MHz", s->mhz);
    if (s->max_mhz > 0) printf(" of %.0f", s->max_mhz);
    if (*s->governor) printf(", governor %s", s->governor);
    if (s->temperature_c > 0) printf(", %.0f °C (%s)", s->temperature_c, s->temperature_zone);
    printf("\nfeatures     %s", r->machine.cpu_detected);
    if (strcmp(r->machine.cpu_detected, r->machine.cpu_allowed) != 0) printf("; EYE_CPU allows %s", r->machine.cpu_allowed);
    printf("\nprocessors   %d online, %d allowed to this process", s->n_online, s->n_affinity);
    if (s->cgroup_cpus > 0) printf(", cgroup quota of %.2g", s->cgroup_cpus);
    printf("; %d threads\n", r->n_threads);
}

static void print_memory(const struct report *r) {
    char a[32], b[32];
    printf("memory       %s free of %s", cli_bytes(r->sys.mem_free, a, sizeof a), cli_bytes(r->sys.mem_total, b, sizeof b));
    if (r->sys.cgroup_mem_max) printf(", cgroup limit %s", cli_bytes(r->sys.cgroup_mem_max, a, sizeof a));
    printf("\nhuge pages   %s", *r->sys.huge_pages ? r->sys.huge_pages : "unknown");
    if (r->speed.huge_known)
        printf("; packed weights would get them for %.0f %%", 100 * (double)r->speed.huge_bytes / (double)r->speed.buffer_bytes);
    putchar('\n');
}

static void print_speed(const struct report *r) {
    const struct eye_speed *s = &r->speed;
    char size[32];
    printf("read         %.1f GB/s by one thread, %.1f by all (%s of memory)\n", s->read_1_bytes_per_s / 1e9,
           s->read_bytes_per_s / 1e9, cli_bytes(s->buffer_bytes, size, sizeof size));
    printf("multiply     f32 %.5g, bf16 %.5g, q8_0 %.5g GFLOP/s\n", s->gemm_flop_per_s[EYE_SPEED_F32] / 1e9,
           s->gemm_flop_per_s[EYE_SPEED_BF16] / 1e9, s->gemm_flop_per_s[EYE_SPEED_Q8_0] / 1e9);
}

static void print_model(const struct report *r) {
    char a[32], b[32];
    if (!r->model_path) {
        printf("model        %s\n", r->none.text);
        return;
    }
    printf("model        %s%s: ", r->model_path, r->is_default ? " (the default)" : "");
    if (!r->model) {
        printf("does not open\n");
        return;
    }
    printf("%s; decoder %s, vision %s\n", r->info.architecture, cli_weight_names[r->info.decoder_type],
           cli_weight_names[r->info.vision_type]);
    printf("             needs %s for a context of %d; %s is free\n", cli_bytes(r->memory.total, a, sizeof a), r->info.n_ctx,
           cli_bytes(r->sys.mem_free, b, sizeof b));
}

static void print_text(const struct report *r, bool verbose) {
    printf("eyelet       %s, %s, %s %s %s\n", eye_version(), r->machine.compiler, r->sys.name, r->sys.release, r->sys.arch);
    print_cpu(r);
    print_memory(r);
    printf("images       JPEG (%s), PNG (%s), WebP (%s), BMP, PPM\n", *r->machine.jpeg ? r->machine.jpeg : "no",
           *r->machine.png ? r->machine.png : "no", *r->machine.webp ? r->machine.webp : "no");
    print_speed(r);
    printf("kernels      %s (%d results, worst %s at %.2g of what rounding explains)\n",
           kernels_agree(r) ? "agree with their reference" : "DIFFER from their reference", r->check.n_results,
           *r->check.worst_op ? r->check.worst_op : "none", r->check.worst);
    for (size_t i = 0; verbose && i < r->n_kernels; i++)
        printf("             %-22s %s\n", r->kernel[i].op, r->kernel[i].kernel);
    print_model(r);
    for (int i = 0; i < r->n_warnings; i++) printf("warning      %s\n", r->warning[i]);
    if (r->n_warnings == 0 && (r->model || !r->model_path)) printf("nothing to complain about\n");
}

/* ---- the command ---- */

static int examine(struct ui *ui, const struct doctor_opts *o, struct report *r) {
    struct eye_err err = {0};
    if (o->model.cpu) setenv("EYE_CPU", o->model.cpu, 1); /* so that measuring obeys it too */
    system_get(&r->sys);
    eye_machine_get(&r->machine);
    r->n_threads = o->model.n_threads ? o->model.n_threads : r->machine.n_cpus;
    r->n_kernels = eye_kernel_choices(r->kernel, MAX_KERNELS);
    if (r->n_kernels > MAX_KERNELS) r->n_kernels = MAX_KERNELS;
    uint64_t buffer = (uint64_t)256 << 20;
    if (r->sys.mem_free && r->sys.mem_free / 8 < buffer) buffer = r->sys.mem_free / 8;
    ui_progress(ui, "measuring", 0);
    if (eye_speed_measure(r->n_threads, buffer, ui_interrupted, NULL, &r->speed, &err) != EYE_OK ||
        eye_self_check(&r->check, &err) != EYE_OK)
        return ui_fail(ui, &err);
    ui_progress(ui, "measuring", 1);
    int code = kernels_agree(r) ? EXIT_DONE : EXIT_FAILED;
    r->is_default = !o->model.path && eye_default_model(r->found, sizeof r->found, &r->none) == EYE_OK;
    r->model_path = r->is_default ? r->found : o->model.path;
    if (!r->model_path) return code;
    if (cli_open(ui, &o->model, &r->model) != EXIT_DONE) return EXIT_FAILED;
    eye_model_get_info(r->model, &r->info);
    return eye_model_memory(r->model, 0, &r->memory, &err) == EYE_OK ? code : ui_fail(ui, &err);
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct doctor_opts *o = opts;
    struct ui ui;
    struct report *r = calloc(1, sizeof *r);
    (void)operand, (void)n_operands;
    ui_init(&ui, o->model.quiet, o->model.verbose);
    ui_catch_interrupt();
    if (!r) return ui_failf(&ui, "out of memory");
    int code = examine(&ui, o, r);
    ui_clear(&ui);
    if (r->check.n_results) { /* a model that does not open is a finding too */
        judge_cpu(r);
        judge_rest(r);
        if (!o->json)
            print_text(r, o->model.verbose);
        else if (print_json(&ui, r) != EXIT_DONE)
            code = EXIT_FAILED;
    }
    eye_model_close(r->model);
    free(r);
    return code;
}

static const struct example examples[] = {
    {"The machine and this build", "eyelet doctor"},
    {"Will this model run here", "eyelet doctor -m FastVLM-0.5B"},
    {NULL, NULL},
};

const struct command cmd_doctor = {
    .name = "doctor",
    .usage = "[-m MODEL] [--json] [-v]",
    .summary = "what this machine can do, how fast, and whether a model fits it",
    .details = "-v lists the kernel chosen for each operation. Exit status 1: kernels are wrong, or MODEL does not open.",
    .args = doctor_args, .examples = examples, .opts_bytes = sizeof(struct doctor_opts), .run = run,
};
