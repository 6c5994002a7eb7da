/* machine: see machine.h. Files of /proc and /sys are short texts; what cannot be read stays empty. */
#include "machine.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The first line, without its end; false = no such file. */
static bool first_line(const char *path, char *out, size_t cap) {
    FILE *f = fopen(path, "r");
    out[0] = '\0';
    if (!f) return false;
    bool ok = fgets(out, (int)cap, f) != NULL;
    fclose(f);
    out[strcspn(out, "\n")] = '\0';
    return ok;
}

static double number(const char *path) {
    char line[64];
    return first_line(path, line, sizeof line) ? strtod(line, NULL) : 0;
}

/* Text after "key<blanks>:<blanks>" of the first such line. */
static bool field(const char *path, const char *key, char *out, size_t cap) {
    char line[512];
    size_t len = strlen(key);
    bool found = false;
    FILE *f = fopen(path, "r");
    if (!f) return false;
    while (!found && fgets(line, sizeof line, f)) {
        const char *p = line + len;
        if (strncmp(line, key, len) != 0) continue;
        p += strspn(p, " \t");
        if (*p++ != ':') continue;
        p += strspn(p, " \t");
        snprintf(out, cap, "%.*s", (int)strcspn(p, "\n"), p);
        found = true;
    }
    fclose(f);
    return found;
}

static uint64_t meminfo(const char *key) {
    char text[64];
    return field("/proc/meminfo", key, text, sizeof text) ? strtoull(text, NULL, 10) * 1024 : 0;
}

static void get_cpu(struct system *s) {
    cpu_set_t set;
    /* x86 names the CPU; Arm boards name the board in the device tree and give the CPU numbers only. */
    if (!field("/proc/cpuinfo", "model name", s->cpu, sizeof s->cpu) &&
        !first_line("/proc/device-tree/model", s->cpu, sizeof s->cpu)) {
        char implementer[32] = "", part[32] = "";
        if (field("/proc/cpuinfo", "CPU implementer", implementer, sizeof implementer) &&
            field("/proc/cpuinfo", "CPU part", part, sizeof part))
            snprintf(s->cpu, sizeof s->cpu, "implementer %s, part %s", implementer, part);
    }
    s->n_online = (int32_t)sysconf(_SC_NPROCESSORS_ONLN);
    s->n_affinity = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : s->n_online;
    s->mhz = number("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq") / 1000;
    s->max_mhz = number("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq") / 1000;
    char text[64];
    if (s->mhz == 0 && field("/proc/cpuinfo", "cpu MHz", text, sizeof text)) s->mhz = strtod(text, NULL);
    first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", s->governor, sizeof s->governor);
}

/* "max" or a number of bytes; 0 = no limit. */
static uint64_t limit(const char *path) {
    char line[64];
    if (!first_line(path, line, sizeof line) || strcmp(line, "max") == 0) return 0;
    uint64_t v = strtoull(line, NULL, 10);
    return v >= (uint64_t)1 << 60 ? 0 : v; /* version 1 says "none" with a huge number */
}

/* Least quota and memory limit of this process' cgroup (version 2) and all above it. */
static void get_cgroup(struct system *s) {
    char line[512] = "", path[640];
    FILE *f = fopen("/proc/self/cgroup", "r");
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f)) found = strncmp(line, "0::/", 4) == 0;
    if (f) fclose(f);
    if (!found) return;
    line[strcspn(line, "\n")] = '\0';
    for (char *dir = line + 3, *slash; ; *slash = '\0') {
        char text[64];
        double quota, period;
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", dir);
        if (first_line(path, text, sizeof text) && sscanf(text, "%lf %lf", &quota, &period) == 2 && quota > 0 && period > 0 &&
            (s->cgroup_cpus == 0 || quota / period < s->cgroup_cpus))
            s->cgroup_cpus = quota / period;
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", dir);
        uint64_t most = limit(path);
        if (most && (s->cgroup_mem_max == 0 || most < s->cgroup_mem_max)) {
            snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.current", dir);
            s->cgroup_mem_max = most;
            s->cgroup_mem_used = limit(path);
        }
        if (!(slash = strrchr(dir, '/'))) return;
    }
}

static void get_memory(struct system *s) {
    char line[128];
    s->mem_total = meminfo("MemTotal");
    s->mem_available = meminfo("MemAvailable");
    get_cgroup(s);
    if (s->cgroup_mem_max == 0 && (s->cgroup_mem_max = limit("/sys/fs/cgroup/memory/memory.limit_in_bytes")) != 0)
        s->cgroup_mem_used = limit("/sys/fs/cgroup/memory/memory.usage_in_bytes");
    s->mem_free = s->mem_available;
    uint64_t left = s->cgroup_mem_max > s->cgroup_mem_used ? s->cgroup_mem_max - s->cgroup_mem_used : 0;
    if (s->cgroup_mem_max && left < s->mem_free) s->mem_free = left;
    struct rlimit space; /* ulimit -v */
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY && (uint64_t)space.rlim_cur < s->mem_free)
        s->mem_free = (uint64_t)space.rlim_cur;
    if (!first_line("/sys/kernel/mm/transparent_hugepage/enabled", line, sizeof line)) return;
    const char *open = strchr(line, '['); /* "always [madvise] never" */
    if (open) snprintf(s->huge_pages, sizeof s->huge_pages, "%.*s", (int)strcspn(open + 1, "]"), open + 1);
}

static void get_temperature(struct system *s) {
    for (int i = 0; i < 64; i++) {
        char path[96], zone[64];
        snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%d/type", i);
        if (!first_line(path, zone, sizeof zone)) break;
        snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%d/temp", i);
        double c = number(path) / 1000;
        if (c <= s->temperature_c) continue;
        s->temperature_c = c;
        snprintf(s->temperature_zone, sizeof s->temperature_zone, "%s", zone);
    }
}

void system_get(struct system *s) {
    struct utsname u;
    *s = (struct system){0};
    if (uname(&u) == 0) {
        snprintf(s->name, sizeof s->name, "%.63s", u.sysname);
        snprintf(s->release, sizeof s->release, "%.63s", u.release);
        snprintf(s->arch, sizeof s->arch, "%.31s", u.machine);
    }
    get_cpu(s);
    get_memory(s);
    get_temperature(s);
}
