/* graph, inside the room: what builder, passes and the oracle share. */
#ifndef EYE_GRAPH_IMPL_H
#define EYE_GRAPH_IMPL_H

#include "graph/graph.h"

/* Fills out->rank, dims from the node's inputs and attributes, or says what does not fit. */
typedef enum eye_status eye_shape_fn(const struct eye_graph *g, const struct eye_node *n, struct eye_value *out, struct eye_err *err);
eye_shape_fn *eye_shape_rule(enum eye_op op);

/* Appends a node and its result value; checks arity and shapes; sticky error. Used by the builder and by passes. */
eye_val eye_node_add(struct eye_graph *g, enum eye_op op, const eye_val *in, int n_in, const struct eye_attr *attr);

/* Takes a node out of the graph (its inputs lose a use). Its result must have no uses left. */
void eye_node_kill(struct eye_graph *g, struct eye_node *n);
/* Sets input i of n, keeping use counts. */
void eye_node_set_in(struct eye_graph *g, struct eye_node *n, int i, eye_val v);
/* The node that makes v, or NULL for leaves. */
struct eye_node *eye_producer(struct eye_graph *g, eye_val v);

#endif
