/* graph, inside the room: what the gradient pass and its rules share. A rule is called with a node of the forward graph and the
 * finished gradient of its result; it appends nodes and gives each input its share. */
#ifndef EYE_GRAPH_GRAD_H
#define EYE_GRAPH_GRAD_H

#include "graph/graph_impl.h"

struct eye_grad {
    struct eye_graph *g;
    eye_val *sum;       /* by value of the forward graph: its gradient so far, or EYE_NONE */
    const bool *wanted; /* by value of the forward graph: something that a gradient is asked of leads to it, or it is such */
};

/* Is the gradient of input i needed? What nobody needs is not computed. */
static inline bool eye_grad_wants(const struct eye_grad *s, const struct eye_node *n, int i) {
    return i < n->n_in && n->in[i] != EYE_NONE && s->wanted[n->in[i]];
}
/* Adds part to the gradient of input i, whose shape it has. */
void eye_grad_give(struct eye_grad *s, const struct eye_node *n, int i, eye_val part);
/* The graph fails: this input has no gradient. */
void eye_grad_refuse(struct eye_grad *s, const struct eye_node *n, int i);

/* n is a copy: appending nodes moves the list. d: the gradient of n->out. */
typedef void eye_grad_fn(struct eye_grad *s, const struct eye_node *n, eye_val d);
#define OP(name, min_in, max_in, flags) eye_grad_fn eye_grad_##name;
#define OP_NO_GRAD(name, min_in, max_in, flags)
#include "graph/ops.def"

#endif
