/* Small things that every view uses: elements by id, toasts, copying, settings that last. */

export const byId = (id) => document.getElementById(id);

/* make("p", "class", "text") */
export function make(tag, className = "", text = "") {
    const e = document.createElement(tag);
    if (className) e.className = className;
    if (text) e.textContent = text;
    return e;
}

/* An error in words. It goes by itself after ten seconds, unless the pointer or the focus rests on it. */
export function toast(text, kind = "error") {
    const box = byId("toasts");
    for (const old of box.children) {
        if (old.dataset.text === text) old.remove(); // said again: once is enough
    }
    const t = make("div", `toast ${kind}`);
    t.dataset.text = text;
    t.append(make("p", "", text));
    const close = make("button", "icon", "×");
    close.setAttribute("aria-label", "Dismiss");
    close.addEventListener("click", () => t.remove());
    t.append(close);
    box.append(t);
    while (box.children.length > 3) box.firstChild.remove();
    const leave = () => (t.matches(":hover, :focus-within") ? setTimeout(leave, 3000) : t.remove());
    setTimeout(leave, kind === "error" ? 10000 : 3000);
}

/* draw, once per screen frame however often it is asked for: pieces of an answer come faster than anybody reads, and laying out a
 * long text for each would keep the page busy after the model has ended. */
export function perFrame(draw) {
    let asked = false;
    return () => {
        if (asked) return;
        asked = true;
        requestAnimationFrame(() => {
            asked = false;
            draw();
        });
    };
}

/* navigator.clipboard is missing without https: a selection copies there too. */
export async function copyText(text) {
    try {
        await navigator.clipboard.writeText(text);
    } catch {
        const area = make("textarea", "off");
        area.value = text;
        document.body.append(area);
        area.select();
        const done = document.execCommand("copy");
        area.remove();
        if (!done) {
            toast("This browser does not let the page copy.");
            return;
        }
    }
    toast("Copied.", "note");
}

const STORE = "eyelet.settings";
const SCHEMA = {
    type: "object",
    properties: {
        caption: { type: "string" },
        people: { type: "integer" },
        outdoors: { type: "boolean" },
        colours: { type: "array", items: { type: "string" }, maxItems: 3 },
    },
    required: ["caption", "people", "outdoors"],
    additionalProperties: false,
};

export const settings = {
    maxTokens: 256, temperature: 0, topP: 1, seed: "", system: "", format: "text", schema: JSON.stringify(SCHEMA, null, 2),
    skip: 1, alert: "", preset: 0, prompt: "", liveJson: false, camera: "environment",
};

try {
    const stored = JSON.parse(localStorage.getItem(STORE) ?? "{}");
    for (const name of Object.keys(settings)) {
        if (typeof stored[name] === typeof settings[name]) settings[name] = stored[name];
    }
} catch {
    // no storage, or not ours: the defaults
}

export function keepSettings() {
    try {
        localStorage.setItem(STORE, JSON.stringify(settings));
    } catch {
        // they last as long as the page
    }
}

/* The fields of a request that come from the settings. */
export function requestOptions() {
    const o = { max_tokens: settings.maxTokens, temperature: settings.temperature };
    if (settings.topP > 0 && settings.topP < 1) o.top_p = settings.topP;
    if (settings.seed !== "") o.seed = Number(settings.seed);
    return o;
}

/* The schema as an object; throws SyntaxError with the browser's words. */
export function parsedSchema() {
    const schema = JSON.parse(settings.schema);
    if (schema === null || typeof schema !== "object" || Array.isArray(schema)) throw new SyntaxError("a schema is a JSON object");
    return schema;
}

export function number(x, digits = 0) {
    return Number.isFinite(x) ? x.toFixed(digits) : "–";
}

export function median(list) {
    if (!list.length) return NaN;
    const sorted = [...list].sort((a, b) => a - b);
    return sorted[sorted.length >> 1];
}

/* An answer in JSON as names and values; anything else, half an object included, as text. */
export function showAnswer(box, text, isJson) {
    let value = null;
    if (isJson) {
        try {
            value = JSON.parse(text);
        } catch {
            // not whole yet
        }
    }
    if (value === null || typeof value !== "object") {
        box.textContent = text;
        return;
    }
    const dl = make("dl", "json");
    for (const [name, v] of Object.entries(value)) {
        dl.append(make("dt", "", name), make("dd", "", typeof v === "string" ? v : JSON.stringify(v)));
    }
    box.replaceChildren(dl);
}
