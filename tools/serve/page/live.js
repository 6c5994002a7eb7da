/* The live view: newest frame in, answer out, one request at a time; and how long each stage took.
 *
 * Back-pressure is the shape of pump(): it runs when a frame comes and when an answer is whole, does nothing while a request is
 * under way, and always takes the newest frame. So a slow model sees fewer frames, never older ones. */
import { ApiError, complete, responseFormat, stagesOf, userContent } from "./api.js";
import { Camera, listCameras, whyNoCamera } from "./camera.js";
import { Chart, STAGES } from "./chart.js";
import { toJpeg } from "./picture.js";
import { byId, keepSettings, make, median, number, parsedSchema, requestOptions, settings, showAnswer, toast } from "./ui.js";

const TEXT_TOKENS = 64;      // a live answer is a sentence
const STREAM_ABOVE_MS = 500; // slower answers are shown as they are written
const WINDOW_MS = 3000;      // rates are means over so long
const KEPT = 120;            // samples for medians
const LOG_LINES = 200;
const LOG_ENTRIES = 5000;    // of the file to save
const SAY_EVERY_MS = 5000;   // to screen readers
const RETRY_MS = 1000;

const PRESETS = [
    { name: "Caption: the model's own question", prompt: "" },
    { name: "One sentence", prompt: "Describe the scene in one short sentence." },
    { name: "What is happening", prompt: "What are the people doing? One short sentence." },
    { name: "Count people", prompt: "How many people are visible? Answer with a number." },
    { name: "Read text", prompt: "Read out all text that is visible." },
    { name: "Watch for danger", prompt: "Is anything here dangerous? Answer yes or no, then say why in a few words." },
    { name: "In your own words …", prompt: null },
];

let props = null;
let camera = null;
let chart = null;
let busy = null;       // AbortController of the request under way
let pausedUntil = 0;
let answers = 0;
let skipped = 0;
let samples = [];
let times = [];        // when answers came
let frameTimes = [];   // {t, n} of the camera's counter
let shownText = null;
let saidAt = 0;
let saved = [];
let alertTest = null;

function state(name, text = "") {
    byId("screen").dataset.state = name;
    byId("why").textContent = text;
}

function badge(text) {
    byId("badge").textContent = text;
    byId("badge").hidden = !text;
}

function question() {
    const preset = PRESETS[settings.preset] ?? PRESETS[0];
    return preset.prompt ?? settings.prompt.trim();
}

function requestBody(url) {
    const options = requestOptions();
    const messages = settings.system ? [{ role: "system", content: settings.system }] : [];
    messages.push({ role: "user", content: userContent(question(), [url]) });
    const stream = median(samples.map((s) => s.total)) > STREAM_ABOVE_MS;
    const body = { ...options, messages, stream };
    if (stream) body.stream_options = { include_usage: true };
    if (settings.liveJson && props.formats.includes("json_schema")) {
        body.response_format = responseFormat("json_schema", parsedSchema());
    } else {
        body.max_tokens = Math.min(options.max_tokens, TEXT_TOKENS);
    }
    return body;
}

/* Stages of one answer in milliseconds. What the server does not account for went to the network, to waiting and to this page. */
function sampleOf(timings, captureMs, roundTripMs) {
    const s = stagesOf(timings);
    const other = Math.max(0, roundTripMs - s.decode - s.vision - s.prefill - s.generate);
    return { ...s, capture: captureMs, other, total: captureMs + roundTripMs };
}

function showText(text, isWhole) {
    if (text === shownText) return;
    shownText = text;
    byId("answer").dataset.state = "some";
    showAnswer(byId("answer"), text, isWhole && settings.liveJson);
}

function logAnswer(text, sample) {
    const now = new Date();
    const isAlert = alertTest !== null && alertTest(text);
    byId("screen").dataset.alert = String(isAlert);
    saved.push({ time: now.toISOString(), answer: text, alert: isAlert, ms: Math.round(sample.total * 10) / 10 });
    if (saved.length > LOG_ENTRIES) saved.shift();
    byId("log-save").disabled = false;
    const log = byId("log");
    const last = log.firstElementChild;
    if (last && last.dataset.text === text) { // the same again: count it
        last.dataset.n = Number(last.dataset.n) + 1;
        last.querySelector(".times").textContent = `× ${last.dataset.n}`;
    } else {
        const line = make("li", isAlert ? "alert" : "");
        line.dataset.text = text;
        line.dataset.n = 1;
        line.append(make("time", "faint", now.toLocaleTimeString()), make("span", "", text), make("span", "times faint"));
        log.prepend(line);
        if (log.children.length > LOG_LINES) log.lastElementChild.remove();
    }
    if (performance.now() - saidAt > SAY_EVERY_MS || isAlert) {
        saidAt = performance.now();
        byId("live-said").textContent = text;
    }
}

/* One frame to one answer. */
async function askAbout(url, captureMs) {
    const sent = performance.now();
    let text = "";
    let timings = null;
    for await (const piece of complete(requestBody(url), busy.signal)) {
        text += piece.text;
        timings = piece.timings ?? timings;
        if (text) showText(text, false);
    }
    const sample = sampleOf(timings, captureMs, performance.now() - sent);
    showText(text, true);
    answers++;
    times.push(performance.now());
    samples.push(sample);
    if (samples.length > KEPT) samples.shift();
    chart.add(sample);
    logAnswer(text, sample);
}

async function pump() {
    if (busy || !camera.isOpen || !camera.fresh || document.hidden || performance.now() < pausedUntil) return;
    const began = performance.now();
    camera.fresh = false;
    if (camera.difference() < settings.skip) {
        skipped++;
        return;
    }
    camera.keep();
    const { video } = camera;
    if (!video.videoWidth) return;
    const controller = new AbortController();
    busy = controller;
    try {
        const url = toJpeg(video, video.videoWidth, video.videoHeight, props.side, props.fit, shot, 0.9);
        await askAbout(url, performance.now() - began);
        badge("");
    } catch (e) {
        failed(e);
    } finally {
        if (busy === controller) busy = null;
    }
    pump();
}
const shot = document.createElement("canvas");

/* What may pass (busy, loading, no connection) is tried again after a second; what will not stops the camera. */
function failed(e) {
    if (e.name === "AbortError") return;
    const words = e instanceof ApiError || e instanceof SyntaxError ? e.message : `This page failed: ${e.message}`;
    const passes = e instanceof ApiError && [0, 429, 503].includes(e.status);
    if (passes) {
        pausedUntil = performance.now() + RETRY_MS;
        badge(words);
        setTimeout(pump, RETRY_MS + 1);
        return;
    }
    toast(words);
    stop(words);
}

function setOpen(open) {
    byId("live-start").hidden = open;
    byId("live-stop").hidden = !open;
}

async function start(open) {
    if (!props) {
        toast("The server has not said yet what its model needs; try again in a moment.");
        return;
    }
    stop("");
    answers = skipped = 0;
    samples = [];
    times = [];
    frameTimes = [];
    shownText = null;
    chart.clear();
    state("wait", "Waiting for the camera …");
    setOpen(true);
    try {
        await open();
    } catch (e) {
        stop(e.message);
        toast(e.message);
        return;
    }
    if (!camera.isOpen) return; // stopped meanwhile
    state("on");
    fillCameras();
}

function stop(why) {
    camera.close();
    busy?.abort();
    busy = null;
    state("off", why || "The camera is off.");
    badge("");
    byId("screen").dataset.alert = "false";
    setOpen(false);
}

async function fillCameras() {
    const list = byId("camera");
    const found = await listCameras();
    for (const old of list.querySelectorAll("[data-device]")) old.remove();
    if (found.length > 1) {
        for (const device of found) {
            const option = make("option", "", device.label || `Camera ${list.length - 1}`);
            option.value = device.deviceId;
            option.dataset.device = "";
            list.append(option);
        }
    }
    list.value = settings.camera;
    if (!list.value) list.value = "environment";
}

function rate(list, now) {
    const recent = list.filter((t) => now - t <= WINDOW_MS);
    return recent.length < 2 ? NaN : ((recent.length - 1) * 1000) / (recent.at(-1) - recent[0]);
}

function showNumbers() {
    if (!camera.isOpen) return;
    const now = performance.now();
    frameTimes = [...frameTimes.filter((f) => now - f.t <= WINDOW_MS), { t: now, n: camera.frames }];
    times = times.filter((t) => now - t <= WINDOW_MS);
    const first = frameTimes[0];
    byId("rate-answers").textContent = number(rate(times, now), 1);
    byId("rate-frames").textContent = number(((camera.frames - first.n) * 1000) / (now - first.t), 1);
    byId("rate-tokens").textContent = number(median(samples.map((s) => s.rate).filter(Number.isFinite)));
    byId("rate-age").textContent = number(median(samples.map((s) => s.total)));
    byId("counts").textContent =
        `${camera.frames} frames: ${answers} answered, ${skipped} unchanged, ${camera.dropped} replaced by newer ones`;
    if (!samples.length) return;
    const last = samples.at(-1);
    [...byId("stages").rows].forEach((row, i) => {
        row.cells[1].textContent = number(last[STAGES[i].id], 1);
        row.cells[2].textContent = number(median(samples.map((s) => s[STAGES[i].id])), 1);
    });
}

/* A word, or /pattern/ with flags. A pattern that is not one marks nothing and says so by aria-invalid. */
function readAlert() {
    const field = byId("alert");
    const text = field.value.trim();
    settings.alert = text;
    field.removeAttribute("aria-invalid");
    alertTest = null;
    if (!text) return;
    const pattern = /^\/(.+)\/([imsu]*)$/.exec(text);
    try {
        const re = pattern ? new RegExp(pattern[1], pattern[2]) : null;
        alertTest = re ? (s) => re.test(s) : (s) => s.toLowerCase().includes(text.toLowerCase());
    } catch {
        field.setAttribute("aria-invalid", "true");
    }
}

function saveLog() {
    const blob = new Blob([saved.map((entry) => `${JSON.stringify(entry)}\n`).join("")], { type: "application/jsonl" });
    const link = make("a");
    link.href = URL.createObjectURL(blob);
    link.download = `eyelet-live-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.jsonl`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function showPreset() {
    byId("prompt-field").hidden = PRESETS[settings.preset]?.prompt !== null;
}

function bindFields() {
    const changed = (id, event, change) => byId(id).addEventListener(event, (e) => {
        change(e.target);
        keepSettings();
    });
    changed("preset", "change", (e) => {
        settings.preset = Number(e.value);
        showPreset();
    });
    changed("prompt", "input", (e) => (settings.prompt = e.value));
    changed("live-json", "change", (e) => (settings.liveJson = e.checked));
    changed("alert", "input", readAlert);
    changed("skip", "input", (e) => {
        settings.skip = Number(e.value);
        byId("skip-value").textContent = `${settings.skip} %`;
    });
    changed("camera", "change", (e) => {
        settings.camera = e.value;
        if (camera.stream) start(() => camera.open(settings.camera));
    });
    byId("live-start").addEventListener("click", () => start(() => camera.open(settings.camera)));
    byId("live-stop").addEventListener("click", () => stop(""));
    byId("live-file").addEventListener("click", () => byId("live-file-input").click());
    byId("live-file-input").addEventListener("change", (e) => {
        const [file] = e.target.files;
        if (file) start(() => camera.openFile(file));
        e.target.value = "";
    });
    byId("log-save").addEventListener("click", saveLog);
}

export function startLive() {
    camera = new Camera(byId("video"));
    camera.onframe = pump;
    camera.onend = stop;
    chart = new Chart(byId("chart"));
    byId("preset").append(...PRESETS.map((p, i) => new Option(p.name, i)));
    byId("preset").value = String(settings.preset in PRESETS ? settings.preset : 0);
    byId("prompt").value = settings.prompt;
    byId("live-json").checked = settings.liveJson;
    byId("alert").value = settings.alert;
    byId("skip").value = settings.skip;
    byId("skip-value").textContent = `${settings.skip} %`;
    byId("camera").value = settings.camera;
    byId("stages").append(...STAGES.map((stage) => {
        const row = make("tr");
        const name = make("th", `key ${stage.id}`, stage.name);
        name.scope = "row";
        row.append(name, make("td", "", "–"), make("td", "", "–"));
        return row;
    }));
    showPreset();
    readAlert();
    bindFields();
    const why = whyNoCamera();
    if (why) {
        state("off", why);
        byId("live-start").disabled = true;
    }
    setInterval(showNumbers, 250);
}

/* Leaving the view stops the camera: nobody is watched by a tab he does not see. */
export function leaveLive() {
    if (camera.isOpen) stop("");
}

export function setLiveProps(p) {
    props = p;
    byId("live-json-field").hidden = !p.formats.includes("json_schema");
    byId("preset").disabled = !p.follows;
    byId("preset").title = p.follows ? "" : "This model writes captions and takes no questions.";
    if (!p.follows) { // a pure captioner: words are out of its world
        settings.preset = 0;
        byId("preset").value = "0";
        showPreset();
    }
    if (!p.vision) {
        byId("live-start").disabled = byId("live-file").disabled = true;
        state("off", `${p.model} has no eyes: it takes text only.`);
    }
}
