/* image/libraries: which decoder libraries this build has, by name and version. */
#include <stdio.h>

#include "image/decode.h"

#if EYE_HAVE_JPEG
#include <jpeglib.h>
#endif
#if EYE_HAVE_PNG
#include <spng.h>
#endif
#if EYE_HAVE_WEBP
#include <webp/decode.h>
#endif

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

void eye_image_libraries(char jpeg[EYE_LIBRARY_MAX], char png[EYE_LIBRARY_MAX], char webp[EYE_LIBRARY_MAX]) {
    jpeg[0] = png[0] = webp[0] = '\0';
#if EYE_HAVE_JPEG && defined(LIBJPEG_TURBO_VERSION)
    snprintf(jpeg, EYE_LIBRARY_MAX, "libjpeg-turbo " TEXT(LIBJPEG_TURBO_VERSION));
#elif EYE_HAVE_JPEG
    snprintf(jpeg, EYE_LIBRARY_MAX, "libjpeg " TEXT(JPEG_LIB_VERSION));
#endif
#if EYE_HAVE_PNG
    snprintf(png, EYE_LIBRARY_MAX, "libspng %s", spng_version_string());
#endif
#if EYE_HAVE_WEBP
    int v = WebPGetDecoderVersion();
    snprintf(webp, EYE_LIBRARY_MAX, "libwebp %d.%d.%d", v >> 16, v >> 8 & 255, v & 255);
#endif
}
