/* machine: what Linux says about the machine in /proc and /sys. Every figure may be absent: 0 or "". */
#ifndef EYELET_CLI_MACHINE_H
#define EYELET_CLI_MACHINE_H

#include <stdint.h>

struct system {
    char name[64], release[64], arch[32]; /* uname */
    char cpu[128];                        /* "AMD EPYC 9554", "Raspberry Pi 5 Model B Rev 1.0" */
    int32_t n_online, n_affinity;         /* processors of the machine, and those this process may run on */
    double cgroup_cpus;                   /* quota; 0 = none */
    uint64_t mem_total, mem_available;    /* bytes */
    uint64_t cgroup_mem_max, cgroup_mem_used;
    uint64_t mem_free;                    /* what this process can still get: the least of the above */
    char huge_pages[16];                  /* "always", "madvise", "never" */
    char governor[32];                    /* "performance", "powersave" */
    double mhz, max_mhz;                  /* of the first processor */
    double temperature_c;                 /* the hottest zone */
    char temperature_zone[64];
};
void system_get(struct system *s);

#endif
