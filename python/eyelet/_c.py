"""The public C API as ctypes sees it.

The declarations below are C, written as in include/eyelet: the classes and prototypes that ctypes needs are made of them when this
module is imported. test/python/declarations.py has a C compiler hold each of them against the headers (types, sizes, offsets, fields
and enumerators left out), so the two cannot part unnoticed. Needs nothing but the standard library; knows nothing of numpy.
"""

from __future__ import annotations

import ctypes
import os
import re
from typing import Any

VERSION = "0.1.0"  # of the library that these declarations describe

ENUMS = """
enum eye_status { EYE_OK, EYE_E_ARG, EYE_E_NOMEM, EYE_E_IO, EYE_E_CORRUPT, EYE_E_UNSUPPORTED, EYE_E_LIMIT, EYE_E_CANCELLED };
enum eye_weight_type { EYE_WEIGHT_STORED, EYE_WEIGHT_F32, EYE_WEIGHT_F16, EYE_WEIGHT_BF16, EYE_WEIGHT_Q8_0, EYE_WEIGHT_Q4_0,
                       EYE_WEIGHT_Q4_K, EYE_WEIGHT_INT8 };
enum eye_cache_type { EYE_CACHE_AUTO, EYE_CACHE_F16, EYE_CACHE_F32, EYE_CACHE_I8 };
enum eye_fit { EYE_FIT_MODEL, EYE_FIT_PAD, EYE_FIT_CROP, EYE_FIT_STRETCH };
enum eye_image_merge { EYE_MERGE_SIMILAR, EYE_MERGE_POOL };
enum eye_log_level { EYE_LOG_WARNING, EYE_LOG_INFO };
enum eye_image_format { EYE_IMAGE_RAW, EYE_IMAGE_JPEG, EYE_IMAGE_PNG, EYE_IMAGE_WEBP, EYE_IMAGE_BMP, EYE_IMAGE_PNM };
enum eye_message_role { EYE_MESSAGE_SYSTEM, EYE_MESSAGE_USER, EYE_MESSAGE_ASSISTANT };
enum eye_image_position { EYE_IMAGES_TEMPLATE, EYE_IMAGES_FIRST };
enum eye_finish { EYE_FINISH_STOP, EYE_FINISH_LENGTH, EYE_FINISH_CONTEXT, EYE_FINISH_CALLER };
"""

CALLBACKS = """
typedef void eye_log_fn(void *ctx, enum eye_log_level level, const char *id, const char *text);
typedef void eye_progress_fn(void *ctx, const char *what, double done);
typedef bool eye_cancel_fn(void *ctx);
typedef bool eye_text_fn(void *ctx, const char *text, size_t bytes);
typedef void eye_token_fn(void *ctx, int32_t token, const struct eye_logprob *logprob);
typedef void eye_done_fn(void *ctx, const struct eye_result *result, enum eye_status status, const struct eye_err *err);
"""

STRUCTS = """
struct eye_err { enum eye_status code; char text[512]; };
struct eye_image {
    int width; int height; size_t stride; const uint8_t *rgb; enum eye_image_format format; int orientation; int n_warnings;
    void *owned; size_t owned_bytes; const struct eye_alloc *alloc;
};
struct eye_image_opts { bool no_exif_orientation; uint64_t max_pixels; uint64_t max_bytes; const struct eye_alloc *alloc; };
struct eye_model_opts {
    int32_t n_threads; const char *cpu_features; int32_t n_ctx; int32_t n_parallel; int32_t image_side;
    int32_t image_tokens; enum eye_image_merge image_merge; bool no_mmap;
    enum eye_weight_type decoder_type; enum eye_weight_type vision_type; enum eye_cache_type cache_type; enum eye_fit fit;
    const char *mmproj; const char *tokenizer; const char *chat_template; const char *cache_dir; uint64_t cache_bytes;
    eye_log_fn *log; void *log_ctx; eye_progress_fn *progress; void *progress_ctx; eye_cancel_fn *cancel; void *cancel_ctx;
    const struct eye_alloc *alloc;
};
struct eye_model_info {
    const char *architecture; const char *file_format; const char *tokenizer; const char *chat_template;
    uint64_t n_params; uint64_t file_bytes; int32_t n_vocab; int32_t n_layers; int32_t n_heads; int32_t n_kv_heads;
    int32_t head_dim; int32_t hidden; int32_t ffn; int32_t n_ctx_trained; int32_t n_ctx; int32_t image_side;
    int32_t image_tokens; int32_t vision_channels; int32_t n_threads;
    enum eye_weight_type decoder_type; enum eye_weight_type vision_type; enum eye_cache_type cache_type; enum eye_fit fit;
    const char *default_prompt;
};
struct eye_memory { uint64_t files; uint64_t weights; uint64_t cache; uint64_t activations; uint64_t total; };
struct eye_session_opts { int32_t n_ctx; bool with_images; eye_cancel_fn *cancel; void *cancel_ctx; };
struct eye_message { enum eye_message_role role; const char *text; size_t n_images; };
struct eye_query {
    const char *text; const struct eye_image *images; size_t n_images; const struct eye_message *messages; size_t n_messages;
    bool strangers; bool raw; enum eye_image_position position; bool truncate; bool next_turn; int32_t reserve;
};
struct eye_generate_opts {
    int32_t n_predict; float temperature; int32_t top_k; float top_p; float min_p; float repeat_penalty;
    float frequency_penalty; float presence_penalty; int32_t penalty_last_n; uint64_t seed; const char *const *stop;
    size_t n_stop; int32_t n_beams; float length_penalty; int32_t n_lookup; bool ignore_eos; const struct eye_grammar *grammar; int32_t n_logprobs; eye_text_fn *on_text;
    void *on_text_ctx;
};
struct eye_timings {
    uint64_t image_decode_us; uint64_t preprocess_us; uint64_t vision_us; uint64_t projector_us; uint64_t prefill_us;
    uint64_t first_token_us; uint64_t decode_us; uint64_t start_us; uint64_t queue_us;
};
struct eye_logprob { int32_t token; float logprob; };
struct eye_result {
    const char *text; size_t text_bytes; const int32_t *tokens; size_t n_tokens; enum eye_finish finish; size_t n_prompt_tok;
    size_t n_image_tok; size_t n_cached_tok; bool truncated; size_t n_guessed; size_t n_guessed_right; struct eye_timings timings; const struct eye_logprob *logprobs;
    size_t n_logprobs;
};
struct eye_batch_opts {
    int32_t n_slots; int32_t n_ctx; int32_t n_beams; int32_t max_queued; int32_t prefill_tok; int32_t n_lanes;
    int64_t image_cache_bytes; int64_t prefix_cache_bytes;
};
struct eye_batch_request {
    const struct eye_query *query; const struct eye_generate_opts *opts; eye_token_fn *on_token; eye_done_fn *on_done; void *ctx;
};
struct eye_batch_stats {
    int32_t n_slots; int32_t n_queued; int32_t n_active; int32_t n_decoding; uint64_t kv_positions; uint64_t kv_used;
    uint64_t image_cache_bytes; uint64_t image_cache_cap; uint64_t prefix_cache_bytes; uint64_t prefix_cache_cap;
    uint64_t n_submitted; uint64_t n_done; uint64_t n_cancelled; uint64_t n_failed; uint64_t n_prompt_tok; uint64_t n_cached_tok;
    uint64_t n_tokens; uint64_t n_image_hits; uint64_t n_image_misses; uint64_t n_rounds; uint64_t n_rows; uint64_t vision_us;
    uint64_t decoder_us;
};
"""

FUNCTIONS = """
const char *eye_version(void);
const char *eye_finish_name(enum eye_finish finish);
enum eye_status eye_default_model(char *path, size_t cap, struct eye_err *err);
bool eye_cancel_flag(void *ctx);
enum eye_status eye_image_load(const char *path, const struct eye_image_opts *opts, struct eye_image *img, struct eye_err *err);
enum eye_status eye_image_decode(const void *bytes, size_t n_bytes, const struct eye_image_opts *opts, struct eye_image *img,
                                 struct eye_err *err);
enum eye_status eye_image_wrap(struct eye_image *img, const uint8_t *rgb, int width, int height, size_t stride,
                               struct eye_err *err);
void eye_image_free(struct eye_image *img);
enum eye_status eye_image_thumbnail(const struct eye_image *img, int side, uint8_t *out, size_t cap, size_t *n,
                                    struct eye_err *err);
enum eye_status eye_model_open(const char *path, const struct eye_model_opts *opts, struct eye_model **model,
                               struct eye_err *err);
void eye_model_close(struct eye_model *model);
void eye_model_get_info(const struct eye_model *model, struct eye_model_info *out);
int32_t eye_model_image_rows(const struct eye_model *model, const struct eye_image *img);
enum eye_status eye_model_memory(struct eye_model *model, int32_t n_ctx, struct eye_memory *out, struct eye_err *err);
enum eye_status eye_model_tokenize(const struct eye_model *model, const char *text, size_t len, uint32_t flags, int32_t *ids,
                                   size_t cap, size_t *n, struct eye_err *err);
enum eye_status eye_model_detokenize(const struct eye_model *model, const int32_t *ids, size_t n, char *out, size_t cap,
                                     size_t *len, struct eye_err *err);
enum eye_status eye_model_chat_text(const struct eye_model *model, const char *user, int32_t n_images, char *out, size_t cap,
                                    size_t *len, struct eye_err *err);
enum eye_status eye_session_new(struct eye_model *model, const struct eye_session_opts *opts, struct eye_session **session,
                                struct eye_err *err);
void eye_session_free(struct eye_session *s);
void eye_session_reset(struct eye_session *s);
int32_t eye_session_n_ctx(const struct eye_session *s);
int32_t eye_session_n_past(const struct eye_session *s);
enum eye_status eye_session_generate(struct eye_session *s, const struct eye_query *query, const struct eye_generate_opts *opts,
                                     struct eye_result *result, struct eye_err *err);
enum eye_status eye_session_prefix(struct eye_session *s, const struct eye_query *query, struct eye_err *err);
enum eye_status eye_session_save(struct eye_session *s, const char *path, struct eye_err *err);
enum eye_status eye_session_load(struct eye_session *s, const char *path, struct eye_err *err);
enum eye_status eye_session_encode_image(struct eye_session *s, const struct eye_image *img, float *out,
                                         struct eye_timings *timings, struct eye_err *err);
enum eye_status eye_session_assemble(struct eye_session *s, const struct eye_query *query, int32_t *ids, size_t cap, size_t *n,
                                     bool *truncated, struct eye_err *err);
enum eye_status eye_session_prefill(struct eye_session *s, const int32_t *ids, size_t n, const float *image_rows, float *logits,
                                    struct eye_err *err);
enum eye_status eye_session_step(struct eye_session *s, int32_t id, float *logits, struct eye_err *err);
enum eye_status eye_grammar_json_schema(struct eye_model *model, const char *schema, struct eye_grammar **g,
                                        struct eye_err *err);
void eye_grammar_free(struct eye_grammar *g);
enum eye_status eye_batch_new(struct eye_model *model, const struct eye_batch_opts *opts, struct eye_batch **batch,
                              struct eye_err *err);
void eye_batch_free(struct eye_batch *batch);
enum eye_status eye_batch_submit(struct eye_batch *batch, const struct eye_batch_request *request, uint64_t *id,
                                 struct eye_err *err);
void eye_batch_cancel(struct eye_batch *batch, uint64_t id);
void eye_batch_run(struct eye_batch *batch, bool until_idle);
void eye_batch_stop(struct eye_batch *batch);
void eye_batch_get_stats(struct eye_batch *batch, struct eye_batch_stats *out);
"""

_BASIC: dict[str, Any] = {
    "void": None, "bool": ctypes.c_bool, "int": ctypes.c_int, "float": ctypes.c_float, "double": ctypes.c_double,
    "size_t": ctypes.c_size_t, "uint8_t": ctypes.c_uint8, "int32_t": ctypes.c_int32, "uint32_t": ctypes.c_uint32,
    "int64_t": ctypes.c_int64, "uint64_t": ctypes.c_uint64, "char": ctypes.c_char,
}
_DECLARATOR = re.compile(r"(?P<type>(?:const )?(?:struct |enum )?\w+) (?P<stars>(?:\*(?:const \*)?)*)(?P<name>\w+)(?:\[(?P<n>\d+)\])?")


def flat(text: str) -> str:
    return " ".join(text.split())


def enums() -> dict[str, list[str]]:
    """Name of each enum, its enumerators in order from 0."""
    return {m[1]: m[2].replace(" ", "").split(",") for m in re.finditer(r"enum (\w+) \{ (.*?) \};", flat(ENUMS))}


def structs() -> dict[str, list[str]]:
    """Name of each struct, the declarations of its fields."""
    return {m[1]: [f.strip() for f in m[2].split(";") if f.strip()] for m in re.finditer(r"struct (\w+) \{ (.*?) \};", flat(STRUCTS))}


def prototypes(text: str) -> list[tuple[str, str, list[str]]]:
    """(declaration of the result with the function's name, the whole, declarations of the parameters)."""
    found = re.finditer(r"\s*(?:typedef )?([^;()]+)\(([^;()]*)\);", flat(text))
    return [(m[1].strip(), m[0], [] if m[2] == "void" else m[2].split(", ")) for m in found]


def declarator(text: str) -> tuple[str, str, str, int]:
    """("const char", "*", "text", 0) of "const char *text"; the number is an array's length."""
    m = _DECLARATOR.fullmatch(text)
    if not m:
        raise ValueError(f"no declaration that this module reads: {text}")
    return m["type"], m["stars"], m["name"], int(m["n"] or 0)


_classes: dict[str, Any] = {}


def _ctype(text: str) -> tuple[str, Any]:
    """Name and ctypes type of a declaration. Structs that are not declared above are opaque: their pointers are void pointers."""
    base, stars, name, n = declarator(text)
    depth, base = stars.count("*"), base.removeprefix("const ")
    if base.startswith("enum "):
        t: Any = ctypes.c_uint
    else:
        t = _classes.get(base.removeprefix("struct "), _BASIC.get(base))
    if base in _classes and depth == 1:  # a function type: pointer and all is what CFUNCTYPE makes
        return name, t
    if t is None:  # void, or opaque
        t, depth = (None, 0) if depth == 0 else (ctypes.c_void_p, depth - 1)
    elif base == "char" and depth:  # text is given and taken as bytes; what the library fills is a buffer
        t, depth = (ctypes.c_char_p if "const" in text else ctypes.POINTER(ctypes.c_char)), depth - 1
    for _ in range(depth):
        t = ctypes.POINTER(t)
    return name, t * n if n else t


for _name in structs():  # callbacks take structs, and structs hold callbacks: first the names of the ones, then all of the others
    _classes[_name] = type(_name, (ctypes.Structure,), {})
for _result, _whole, _parameters in prototypes(CALLBACKS):
    _name, _type = _ctype(_result)
    _classes[_name] = ctypes.CFUNCTYPE(_type, *[_ctype(p)[1] for p in _parameters])
for _name, _fields in structs().items():
    _classes[_name]._fields_ = [_ctype(f) for f in _fields]


def struct(name: str) -> Any:
    """The class of a struct or callback declared above; structs start all zero."""
    return _classes[name]


def enum_value(name: str, prefix: str, word: str) -> int:
    """enum_value("eye_fit", "EYE_FIT_", "pad") is EYE_FIT_PAD."""
    names = [e.removeprefix(prefix).lower() for e in enums()[name]]
    if word.lower() not in names:
        raise ValueError(f"{word!r} is none of {', '.join(names)}")
    return names.index(word.lower())


def enum_word(name: str, prefix: str, value: int) -> str:
    names = enums()[name]
    return names[value].removeprefix(prefix).lower() if value < len(names) else str(value)


def _load() -> ctypes.CDLL:
    path = os.environ.get("EYELET_LIBRARY") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "libeyelet.so")
    try:
        library = ctypes.CDLL(path)  # a CDLL lets go of the GIL while a function runs
    except OSError as e:
        raise ImportError(f"{path}: {e}; install the package (pip install ./python) or name a library in EYELET_LIBRARY") from e
    for result, _, parameters in prototypes(FUNCTIONS):
        name, restype = _ctype(result)
        function = getattr(library, name)
        function.restype, function.argtypes = restype, [_ctype(p)[1] for p in parameters]
    version = library.eye_version().decode()
    if version != VERSION:
        raise ImportError(f"{path} is eyelet {version}, these bindings are of {VERSION}")
    return library


_library: ctypes.CDLL | None = None


def lib() -> Any:
    """The library, loaded on first use."""
    global _library
    if _library is None:
        _library = _load()
    return _library
