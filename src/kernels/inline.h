/* EYE_INLINE: kernels are written once as a function of constant parameters and must be inlined for these to fold. */
#ifndef EYE_KERNEL_INLINE_H
#define EYE_KERNEL_INLINE_H

#if defined(__GNUC__)
#define EYE_INLINE static inline __attribute__((always_inline))
#else
#define EYE_INLINE static inline
#endif

#endif
