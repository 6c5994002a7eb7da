/* EYE_INLINE: kernels are written once as a function of constant parameters and must be inlined for these to fold.
 * EYE_UNROLL: before a loop of constant length <= 16 over an array of registers; a register array that is indexed by a
 * variable lives in memory. Both compilers need telling in their own words: clang reads GCC's pragma as "perhaps".
 * EYE_KEEP_LOOP: before a loop whose body fills the registers as it is. */
#ifndef EYE_KERNEL_INLINE_H
#define EYE_KERNEL_INLINE_H

#if defined(__GNUC__)
#define EYE_INLINE static inline __attribute__((always_inline))
#else
#define EYE_INLINE static inline
#endif

#if defined(__clang__)
#define EYE_UNROLL _Pragma("clang loop unroll(full)")
#define EYE_KEEP_LOOP _Pragma("clang loop unroll(disable)")
#define EYE_UNROLL_4 _Pragma("clang loop unroll_count(4)") /* a loop of any length, four at a time */
#define EYE_NO_UNROLL _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define EYE_UNROLL _Pragma("GCC unroll 16")
#define EYE_KEEP_LOOP _Pragma("GCC unroll 1")
#define EYE_UNROLL_4 _Pragma("GCC unroll 4")
#define EYE_NO_UNROLL _Pragma("GCC unroll 1")
#else
#define EYE_UNROLL
#define EYE_KEEP_LOOP
#define EYE_UNROLL_4
#define EYE_NO_UNROLL
#endif

#endif
