/* base/cpu: what this machine can do: instruction sets (CPU and operating system both), processors, clock, memory used. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/sys.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

static uint64_t xgetbv0(void) {
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* Leaf 1 and 7 bits: Intel SDM volume 2, CPUID. XCR0: bits 1-2 = SSE + AVX state, 5-7 = opmask + ZMM state. */
static uint32_t detect(void) {
    uint32_t a, b, c, d, flags = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    uint64_t xcr0 = xgetbv0();
    bool fma_f16c = (c & bit_FMA) && (c & bit_F16C) && (c & bit_AVX);
    if ((xcr0 & 0x6) != 0x6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    uint32_t max_sub = a, b7 = b, c7 = c, a71 = 0;
    if (max_sub >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) a71 = a;
    bool avx2 = fma_f16c && (b7 & 1u << 5);
    if (!avx2) return 0;
    flags |= EYE_CPU_AVX2;
    if (a71 & 1u << 4) flags |= EYE_CPU_AVXVNNI;
    uint32_t need = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F DQ BW VL */
    if ((xcr0 & 0xe0) == 0xe0 && (b7 & need) == need) {
        flags |= EYE_CPU_AVX512;
        if (c7 & 1u << 11) flags |= EYE_CPU_AVX512VNNI;
        if (a71 & 1u << 5) flags |= EYE_CPU_AVX512BF16;
    }
    return flags;
}
#elif defined(__aarch64__)
#include <sys/auxv.h>

/* Bit numbers: Linux arch/arm64/include/uapi/asm/hwcap.h; written out since old libc headers lack the newer names. */
static uint32_t detect(void) {
    unsigned long cap = getauxval(AT_HWCAP), cap2 = getauxval(AT_HWCAP2);
    uint32_t flags = EYE_CPU_NEON;
    if (cap & 1ul << 20) flags |= EYE_CPU_DOTPROD;
    if (cap2 & 1ul << 13) flags |= EYE_CPU_I8MM;
    if (cap2 & 1ul << 14) flags |= EYE_CPU_BF16;
    return flags;
}
#else
static uint32_t detect(void) { return 0; }
#endif

static const struct {
    uint32_t flag;
    const char *name;
} names[] = {
    {EYE_CPU_AVX2, "avx2"},       {EYE_CPU_AVXVNNI, "avxvnni"},       {EYE_CPU_AVX512, "avx512"},
    {EYE_CPU_AVX512VNNI, "avx512vnni"}, {EYE_CPU_AVX512BF16, "avx512bf16"}, {EYE_CPU_NEON, "neon"},
    {EYE_CPU_DOTPROD, "dotprod"}, {EYE_CPU_I8MM, "i8mm"},             {EYE_CPU_BF16, "bf16"},
};

bool eye_cpu_parse(const char *list, uint32_t *flags) {
    bool known = true;
    *flags = 0;
    while (*list) {
        size_t len = strcspn(list, ", "), i = 0;
        while (i < EYE_COUNT(names) && !(strlen(names[i].name) == len && memcmp(names[i].name, list, len) == 0)) i++;
        if (i < EYE_COUNT(names))
            *flags |= names[i].flag;
        else if (len && !(len == 4 && memcmp(list, "base", 4) == 0))
            known = false;
        list += len + (list[len] != '\0');
    }
    return known;
}

uint32_t eye_cpu_detected(void) { return detect(); }

uint32_t eye_cpu_flags(void) {
    const char *mask = getenv("EYE_CPU");
    uint32_t allowed = UINT32_MAX;
    if (mask && *mask) eye_cpu_parse(mask, &allowed);
    return detect() & allowed;
}

void eye_cpu_names(uint32_t flags, char *out, size_t cap) {
    size_t at = 0;
    if (cap == 0) return;
    out[0] = '\0';
    for (size_t i = 0; i < EYE_COUNT(names) && at < cap; i++)
        if (flags & names[i].flag) at += (size_t)snprintf(out + at, cap - at, "%s%s", at ? "," : "", names[i].name);
    if (at == 0) snprintf(out, cap, "base");
}

/* Smallest CPU quota (rounded up) of this process' cgroup (v2) and all above it; 0 = none. A container with `--cpus 2` on a
 * 64-core machine would otherwise start 64 threads for two processors' worth of time. */
static int cgroup_quota(void) {
    char line[512], path[640];
    int best = 0;
    FILE *f = fopen("/proc/self/cgroup", "r");
    if (!f) return 0;
    bool found = false;
    while (!found && fgets(line, sizeof line, f)) found = strncmp(line, "0::/", 4) == 0;
    fclose(f);
    if (!found) return 0;
    line[strcspn(line, "\n")] = '\0';
    for (char *dir = line + 3;;) {
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", dir);
        long quota, period;
        if ((f = fopen(path, "r"))) {
            if (fscanf(f, "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0) {
                int n = (int)EYE_MIN((quota + period - 1) / period, 1 << 20);
                if (best == 0 || n < best) best = n;
            }
            fclose(f);
        }
        char *slash = strrchr(dir, '/');
        if (!slash) return best;
        *slash = '\0';
    }
}

int eye_cpu_count(void) {
    cpu_set_t set;
    int n = 0;
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
    if (n < 1) n = (int)EYE_MAX(sysconf(_SC_NPROCESSORS_ONLN), 1); /* more than 1024 processors: the mask does not fit */
    int quota = cgroup_quota();
    return quota > 0 ? EYE_MIN(n, quota) : n;
}

uint64_t eye_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t eye_peak_rss_bytes(void) {
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (uint64_t)u.ru_maxrss * 1024 : 0; /* Linux counts in KiB */
}
