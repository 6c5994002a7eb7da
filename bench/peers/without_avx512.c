/* A processor without AVX-512, AVX-VNNI and AMX for programs whose CPUID instructions without_avx512.py replaced by UD2: the
 * signal each raises is answered here with what CPUID says, less those features. Loaded by LD_PRELOAD. x86-64 Linux only. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>

/* Bits of CPUID's leaf 7 that are taken away (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E). */
#define BIT(n) (1u << (n))
static const unsigned ebx_7 = BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31); /* F to VL */
static const unsigned ecx_7 = BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14);                 /* AVX512 VBMI to VPOPCNTDQ */
static const unsigned edx_7 = BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25); /* AVX512 4VNNIW to FP16, AMX */
static const unsigned eax_7_1 = BIT(4) | BIT(5) | BIT(21) | BIT(23);           /* AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA */
static const unsigned edx_7_1 = BIT(4) | BIT(5) | BIT(8) | BIT(10) | BIT(19); /* AVX-VNNI-INT8 to AVX10 */

static void answer(int number, siginfo_t *info, void *context) {
    (void)info;
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *at = (const unsigned char *)r[REG_RIP];
    if (at[0] != 0x0f || at[1] != 0x0b) { /* not ours: die of it */
        signal(number, SIG_DFL);
        return;
    }
    unsigned leaf = (unsigned)r[REG_RAX], sub = (unsigned)r[REG_RCX], a, b, c, d;
    __cpuid_count(leaf, sub, a, b, c, d);
    if (leaf == 7 && sub == 0) {
        b &= ~ebx_7;
        c &= ~ecx_7;
        d &= ~edx_7;
    } else if (leaf == 7 && sub == 1) {
        a &= ~eax_7_1;
        d &= ~edx_7_1;
    }
    r[REG_RAX] = a;
    r[REG_RBX] = b;
    r[REG_RCX] = c;
    r[REG_RDX] = d;
    r[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (sigaction(SIGILL, &action, NULL)) abort();
}
