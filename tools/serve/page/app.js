/* Begins the page: what the server's model is, the two views, the settings. */
import { apiKey, getProps, setApiKey } from "./api.js";
import { setChatProps, startChat } from "./chat.js";
import { leaveLive, setLiveProps, startLive } from "./live.js";
import { byId, keepSettings, parsedSchema, settings, toast } from "./ui.js";

const VIEWS = ["chat", "live"];
const RETRY_MS = 1500;
const WATCH_MS = 15000;

/* Asks until the server is ready, then now and then whether it still is. */
async function connect() {
    const model = byId("model");
    try {
        const p = await getProps();
        if (model.dataset.state !== "ready") {
            setChatProps(p);
            setLiveProps(p);
            for (const option of byId("format").options) option.disabled = !p.formats.includes(option.value);
            if (byId("format").selectedOptions[0]?.disabled) byId("format").value = settings.format = "text";
        }
        model.textContent = p.model;
        model.title = [p.version, p.nCtx && `context of ${p.nCtx} tokens`,
            p.vision && `pictures of ${p.side} px`].filter(Boolean).join(", ");
        model.dataset.state = "ready";
        setTimeout(connect, WATCH_MS);
    } catch (e) {
        model.dataset.state = "wait";
        model.textContent = e.status === 503 ? "loading the model …" : e.status === 401 ? "needs an API key" : "no connection";
        model.title = e.message;
        if (e.status === 401) {
            if (!byId("settings").open) openSettings("key");
            return; // again when the settings are closed
        }
        setTimeout(connect, RETRY_MS);
    }
}

function show(name) {
    for (const view of VIEWS) {
        const on = view === name;
        byId(`view-${view}`).hidden = !on;
        byId(`tab-${view}`).setAttribute("aria-selected", String(on));
        byId(`tab-${view}`).tabIndex = on ? 0 : -1;
    }
    if (name !== "live") leaveLive();
}

function followHash() {
    const name = location.hash.slice(1);
    show(VIEWS.includes(name) ? name : VIEWS[0]);
}

function startTabs() {
    VIEWS.forEach((view, i) => {
        const tab = byId(`tab-${view}`);
        tab.addEventListener("click", () => (location.hash = `#${view}`));
        tab.addEventListener("keydown", (e) => {
            const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
            if (!step) return;
            const next = VIEWS[(i + step + VIEWS.length) % VIEWS.length];
            location.hash = `#${next}`;
            byId(`tab-${next}`).focus();
        });
    });
    window.addEventListener("hashchange", followHash);
    followHash();
}

/* id of the field, its name in settings, how its text is read; null = not a value of it: the old one stays */
const inRange = (low, high, whole) => (text) => {
    const x = Number(text);
    return text === "" || !Number.isFinite(x) || x < low || x > high || (whole && !Number.isInteger(x)) ? null : x;
};
const FIELDS = [
    ["max-tokens", "maxTokens", inRange(1, 8192, true)],
    ["temperature", "temperature", inRange(0, 2, false)],
    ["top-p", "topP", inRange(0, 1, false)],
    ["seed", "seed", (text) => (text === "" || /^\d{1,15}$/.test(text) ? text : null)],
    ["system", "system", (text) => text],
    ["format", "format", (text) => text],
    ["schema", "schema", (text) => text],
];

function openSettings(focus) {
    for (const [id, name] of FIELDS) byId(id).value = settings[name];
    byId("key").value = apiKey();
    checkSchema();
    byId("settings").showModal();
    if (focus) byId(focus).focus();
}

function checkSchema() {
    const error = byId("schema-error");
    settings.schema = byId("schema").value;
    error.hidden = true;
    try {
        parsedSchema();
    } catch (e) {
        error.textContent = `Not a schema: ${e.message}`;
        error.hidden = false;
    }
}

function startSettings() {
    byId("open-settings").addEventListener("click", () => openSettings());
    byId("schema").addEventListener("input", checkSchema);
    byId("settings").addEventListener("click", (e) => { // beside the sheet
        if (e.target === byId("settings")) byId("settings").close();
    });
    byId("settings").addEventListener("close", () => {
        for (const [id, name, read] of FIELDS) {
            const value = read(byId(id).value.trim());
            if (value !== null) settings[name] = value;
            else toast(`${byId(id).labels[0].textContent.trim()}: that is no such number, the old one stays.`);
        }
        keepSettings();
        if (byId("key").value !== apiKey()) setApiKey(byId("key").value);
        if (byId("model").dataset.state !== "ready") connect();
    });
}

startChat();
startLive();
startTabs();
startSettings();
connect();
