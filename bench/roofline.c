/* bench/roofline: what this machine can do at most: memory read by one thread and by all, multiply-adds of f32, bf16 and int8
 * on registers alone, and what the GEMM kernels reach. One JSON object. Usage: roofline [THREADS [MIB]] */
#include <stdio.h>
#include <stdlib.h>

#include "eyelet/experimental.h"

int main(int argc, char **argv) {
    static const char *const names[EYE_N_SPEED] = {"f32", "bf16", "int8"};
    struct eye_machine m;
    struct eye_speed s;
    struct eye_err err = {0};
    int threads = argc > 1 ? atoi(argv[1]) : 0, mib = argc > 2 ? atoi(argv[2]) : 512;
    eye_machine_get(&m);
    if (eye_speed_measure(threads, (uint64_t)mib << 20, NULL, NULL, &s, &err) != EYE_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("{\"cpu\": \"%s\", \"threads\": %d, \"read_1_gb_per_s\": %.2f, \"read_gb_per_s\": %.2f", m.cpu_allowed,
           threads ? threads : m.n_cpus, s.read_1_bytes_per_s / 1e9, s.read_bytes_per_s / 1e9);
    for (int i = 0; i < EYE_N_SPEED; i++)
        printf(", \"%s_gop_per_s\": %.1f, \"gemm_%s_gop_per_s\": %.1f", names[i], s.peak_flop_per_s[i] / 1e9, names[i],
               s.gemm_flop_per_s[i] / 1e9);
    printf("}\n");
    return 0;
}
