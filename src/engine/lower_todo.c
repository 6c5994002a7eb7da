/* engine/lower_todo: rows of ops.def that have no lowering yet: planning them is UNSUPPORTED. */
#include "engine/engine_impl.h"

#define TODO(name) \
    enum eye_status eye_lower_##name(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) { \
        return eye_fail(err, EYE_E_UNSUPPORTED, "engine: no lowering yet"); \
    }
TODO(dropout)
TODO(cross_entropy)
TODO(kl_rows)
TODO(kl_topk)
TODO(mse_rows)
TODO(cosine_rows)
TODO(sum)
TODO(scale)
TODO(conv2d_dx)
TODO(conv2d_dw)
TODO(layer_norm_dx)
TODO(layer_norm_dw)
TODO(rms_norm_dx)
TODO(rms_norm_dw)
TODO(softmax_grad)
TODO(embed_grad)
TODO(positions_grad)
TODO(attention_grad)
TODO(slice_grad)
TODO(cross_entropy_grad)
TODO(kl_rows_grad)
TODO(kl_topk_grad)
TODO(mse_rows_grad)
TODO(cosine_rows_grad)
