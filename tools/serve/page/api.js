/* Talks to the server by OpenAI's routes and puts its errors into words. Knows nothing of the page's elements. */

export class ApiError extends Error {
    constructor(status, message, code) {
        super(message);
        this.status = status; // 0: the server was not reached
        this.code = code;
    }
}

const KEY = "eyelet.key";

/* The key stays in this tab: sessionStorage, where there is one. */
let key = "";
try {
    key = sessionStorage.getItem(KEY) ?? "";
} catch {
    // storage is switched off: the key lives as long as the page
}

export function apiKey() {
    return key;
}

export function setApiKey(text) {
    key = text.trim();
    try {
        sessionStorage.setItem(KEY, key);
    } catch {
        // as above
    }
}

function inWords(status, said) {
    const because = said ? `: ${said}` : ".";
    switch (status) {
    case 401: return "The server wants an API key. Give it under Settings.";
    case 403: return `The server refused${because}`;
    case 404: return `This server has no such route${because}`;
    case 413: return `That is more than the server takes${because}`;
    case 429: return `The server has too many requests at once; try again${because}`;
    case 503: return `The server cannot answer just now${because}`;
    }
    if (status >= 500) return `The server failed${because}`;
    return said || `The server answered ${status}.`;
}

async function failure(response) {
    let error = {};
    try {
        error = (await response.json()).error ?? {};
    } catch {
        // no JSON: the status must do
    }
    return new ApiError(response.status, inWords(response.status, error.message), error.code ?? error.type);
}

async function request(path, init = {}) {
    const headers = { ...init.headers };
    if (key) headers.Authorization = `Bearer ${key}`;
    let response;
    try {
        response = await fetch(path, { ...init, headers, cache: "no-store" });
    } catch (e) {
        if (e.name === "AbortError") throw e;
        throw new ApiError(0, "The server does not answer. Is `eyelet serve` still running?");
    }
    if (!response.ok) throw await failure(response);
    return response;
}

/* What the model is and needs: see doc/SERVE.md. Fields that an older server lacks get their usual values. */
export async function getProps() {
    const p = await (await request("props")).json();
    return {
        model: p.model_alias ?? "model",
        version: p.build_info ?? "",
        nCtx: p.default_generation_settings?.n_ctx ?? 0,
        follows: p.default_prompt !== "", // "": a pure captioner, which wants no words
        vision: p.modalities?.vision ?? true,
        side: p.image_side || 1024,
        fit: p.image_fit ?? "stretch",
        images: p.limits?.max_images || 16,
        formats: p.response_formats ?? ["text"],
    };
}

/* Lines of an event stream, joined over the borders of its pieces. */
async function* lines(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    try {
        for (;;) {
            const { value, done } = await reader.read();
            if (done) break;
            rest += value;
            const whole = rest.split(/\r?\n/);
            rest = whole.pop();
            yield* whole;
        }
        if (rest) yield rest;
    } finally {
        reader.cancel().catch(() => {}); // leaving early closes the socket, which cancels the answer there
    }
}

function readChunk(data) {
    let chunk;
    try {
        chunk = JSON.parse(data);
    } catch {
        throw new ApiError(0, "The server sent something that is not JSON.");
    }
    if (chunk.error) throw new ApiError(chunk.error.status ?? 500, inWords(500, chunk.error.message), chunk.error.code);
    const choice = chunk.choices?.[0];
    return {
        text: choice?.delta?.content ?? choice?.message?.content ?? "",
        finish: choice?.finish_reason ?? null,
        usage: chunk.usage ?? null,
        timings: chunk.timings ?? null,
    };
}

/* One answer as pieces {text, finish, usage, timings}; a body with stream: false gives one piece. Throws ApiError, or
 * AbortError when signal fires. */
export async function* complete(body, signal) {
    const response = await request("v1/chat/completions", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
        signal,
    });
    if (!body.stream) {
        yield readChunk(await response.text());
        return;
    }
    let ended = false;
    try {
        for await (const line of lines(response.body)) {
            if (!line.startsWith("data:")) continue; // a comment keeps the line alive; blanks part events
            const data = line.slice(5).trim();
            if (data === "[DONE]") {
                ended = true;
                break;
            }
            yield readChunk(data);
        }
    } catch (e) {
        if (e instanceof ApiError || e.name === "AbortError") throw e;
        throw new ApiError(0, "The connection broke in the middle of the answer.");
    }
    if (!ended) throw new ApiError(0, "The connection ended before the answer did.");
}

/* The server's timings by stage, in milliseconds, and tokens a second. A beam search chooses all its tokens at its end: there
 * what lies between the prefill and the first token is the time of them all. */
export function stagesOf(timings) {
    const t = timings ?? {};
    const decode = (t.image_decode_ms || 0) + (t.preprocess_ms || 0);
    const vision = (t.vision_ms || 0) + (t.projector_ms || 0);
    const prefill = t.prompt_ms || 0;
    const n = t.predicted_n || 0;
    const atOnce = !(t.predicted_ms > 0);
    const generate = atOnce ? Math.max(0, (t.first_token_ms || 0) - (t.preprocess_ms || 0) - vision - prefill) : t.predicted_ms;
    const chosen = atOnce ? n : n - 1; // the first is the prefill's
    return { decode, vision, prefill, generate, n, rate: generate > 0 && chosen > 0 ? (chosen * 1000) / generate : NaN };
}

/* The content of a user's message: pictures first, as data URIs; a picture alone asks the model's own question. */
export function userContent(text, pictures) {
    if (!pictures.length) return text;
    const parts = pictures.map((url) => ({ type: "image_url", image_url: { url } }));
    if (text) parts.push({ type: "text", text });
    return parts;
}

export function responseFormat(kind, schema) {
    if (kind === "json_schema") return { type: "json_schema", json_schema: { name: "answer", strict: true, schema } };
    return { type: kind };
}
