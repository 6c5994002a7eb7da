/* The conversation: turns with pictures, answers as they are written. One request at a time; Stop closes its socket, which ends
 * the work on the server too. */
import { ApiError, complete, responseFormat, stagesOf, userContent } from "./api.js";
import { readPicture, watchDrops } from "./picture.js";
import {
    byId, copyText, make, number, parsedSchema, perFrame, requestOptions, settings, showAnswer, toast,
} from "./ui.js";

const STARTERS = ["Describe this image.", "What is in the foreground?", "Is there any text in it? Read it out."];

let props = null;
let turns = [];      // {role, content} as the API takes them
let pictures = [];   // {name, url} of the message being written
let running = null;  // AbortController of the answer being written

function scrollDown() {
    const thread = byId("thread");
    thread.scrollTop = thread.scrollHeight;
}

function isAtEnd() {
    const thread = byId("thread");
    return thread.scrollHeight - thread.scrollTop - thread.clientHeight < 80;
}

function showPictures() {
    const list = byId("pictures");
    list.hidden = pictures.length === 0;
    list.replaceChildren(...pictures.map((picture, i) => {
        const item = make("li");
        const img = make("img");
        img.src = picture.url;
        img.alt = picture.name;
        const remove = make("button", "icon", "×");
        remove.type = "button";
        remove.setAttribute("aria-label", `Remove ${picture.name}`);
        remove.addEventListener("click", () => {
            pictures.splice(i, 1);
            showPictures();
            byId("words").focus();
        });
        item.append(img, remove);
        return item;
    }));
}

async function addFiles(files) {
    if (!props) {
        toast("The server has not said yet what its model needs; try again in a moment.");
        return;
    }
    if (!props.vision) {
        toast(`${props.model} has no eyes: it takes text only.`);
        return;
    }
    for (const file of files) {
        if (pictures.length === props.images) {
            toast(`${props.images} pictures in one message are the most.`);
            break;
        }
        try {
            pictures.push(await readPicture(file, props));
        } catch (e) {
            toast(e.message);
        }
    }
    showPictures();
    byId("words").focus();
}

/* "224 ms to the first token · vision 18 ms · 57 tok/s" */
function summary(timings, usage, firstMs, finish) {
    const parts = [];
    const stages = stagesOf(timings);
    const tokens = usage?.completion_tokens ?? stages.n;
    if (firstMs) parts.push(`first words after ${number(firstMs)} ms`);
    if (stages.vision) parts.push(`vision ${number(stages.vision, 1)} ms`);
    if (stages.prefill) parts.push(`prefill ${number(stages.prefill, 1)} ms`);
    if (tokens) parts.push(`${tokens} tokens`);
    if (Number.isFinite(stages.rate)) parts.push(`${number(stages.rate)} tok/s`);
    if (finish === "length") parts.push("cut at the token limit");
    if (finish === "stopped") parts.push("stopped");
    return parts.join(" · ");
}

function addTurn(role, text, urls = []) {
    byId("empty").hidden = true;
    const turn = make("article", `turn ${role}`);
    turn.setAttribute("aria-label", role === "user" ? "You" : "Answer");
    if (urls.length) {
        const row = make("div", "shown");
        for (const picture of urls) {
            const img = make("img");
            img.src = picture.url;
            img.alt = picture.name;
            row.append(img);
        }
        turn.append(row);
    }
    const body = make("div", "body", text);
    if (text || role === "assistant") turn.append(body);
    byId("thread").append(turn);
    return { turn, body };
}

function setRunning(controller) {
    running = controller;
    byId("send").hidden = controller !== null;
    byId("stop").hidden = controller === null;
    byId("thread").setAttribute("aria-busy", String(controller !== null));
}

function addTools(turn, text, stats) {
    const tools = make("div", "tools");
    const copy = make("button", "link", "Copy");
    copy.addEventListener("click", () => copyText(text));
    tools.append(copy, make("span", "faint", stats));
    turn.append(tools);
}

function requestBody() {
    const messages = settings.system ? [{ role: "system", content: settings.system }, ...turns] : [...turns];
    const body = { ...requestOptions(), messages, stream: true, stream_options: { include_usage: true } };
    if (settings.format !== "text") {
        body.response_format = responseFormat(settings.format, settings.format === "json_schema" ? parsedSchema() : undefined);
    }
    return body;
}

/* Streams the answer to the turns so far. On failure the question goes back to where it was written. */
async function answer() {
    const { turn, body } = addTurn("assistant", "");
    turn.classList.add("writing");
    const controller = new AbortController();
    setRunning(controller);
    scrollDown();
    let text = "";
    let usage = null;
    let timings = null;
    let finish = null;
    let firstMs = 0;
    const began = performance.now();
    let failed = null;
    const showText = perFrame(() => {
        if (!turn.classList.contains("writing")) return; // it is whole, and shown
        const follow = isAtEnd();
        body.textContent = text;
        if (follow) scrollDown();
    });
    try {
        for await (const piece of complete(requestBody(), controller.signal)) {
            usage = piece.usage ?? usage;
            timings = piece.timings ?? timings;
            finish = piece.finish ?? finish;
            if (!piece.text) continue;
            firstMs ||= performance.now() - began;
            text += piece.text;
            showText();
        }
    } catch (e) {
        if (e.name === "AbortError") finish = "stopped";
        else failed = e;
    }
    turn.classList.remove("writing");
    setRunning(null);
    if (failed) {
        toast(failed instanceof ApiError || failed instanceof SyntaxError ? failed.message : `This page failed: ${failed.message}`);
        if (!text) {
            turn.remove();
            return false;
        }
    }
    showAnswer(body, text, settings.format !== "text");
    if (!text) body.append(make("span", "faint", "(an empty answer)"));
    addTools(turn, text, summary(timings, usage, firstMs, finish));
    turns.push({ role: "assistant", content: text });
    byId("said").textContent = text; // for screen readers: once, when it is whole
    scrollDown();
    return true;
}

async function send() {
    if (running || !props) return;
    const words = byId("words");
    const text = words.value.trim();
    const sent = pictures;
    if (!text && !sent.length) {
        words.focus();
        return;
    }
    turns.push({ role: "user", content: userContent(text, sent.map((p) => p.url)) });
    const { turn } = addTurn("user", text, sent);
    words.value = "";
    grow();
    pictures = [];
    showPictures();
    if (!(await answer())) { // nothing came: as if it had not been sent
        turns.pop();
        turn.remove();
        if (!words.value) words.value = text;
        if (!pictures.length) pictures = sent;
        showPictures();
        grow();
        byId("empty").hidden = turns.length > 0;
    }
    words.focus();
}

function grow() {
    const words = byId("words");
    words.style.height = "auto";
    words.style.height = `${Math.min(words.scrollHeight, 200)}px`;
}

function clear() {
    running?.abort();
    turns = [];
    for (const turn of byId("thread").querySelectorAll(".turn")) turn.remove();
    byId("empty").hidden = false;
    byId("words").focus();
}

export function startChat() {
    byId("composer").addEventListener("submit", (e) => {
        e.preventDefault();
        send();
    });
    byId("words").addEventListener("input", grow);
    byId("words").addEventListener("keydown", (e) => {
        if (e.key !== "Enter" || e.shiftKey || e.isComposing) return; // isComposing: Enter chooses a character there
        e.preventDefault();
        send();
    });
    byId("stop").addEventListener("click", () => running?.abort());
    byId("new-chat").addEventListener("click", clear);
    byId("attach").addEventListener("click", () => byId("file").click());
    byId("file").addEventListener("change", (e) => {
        addFiles([...e.target.files]);
        e.target.value = ""; // the same file may be chosen again
    });
    document.addEventListener("keydown", (e) => {
        if (e.key === "Escape" && running && !byId("settings").open) running.abort();
    });
    watchDrops((files) => {
        location.hash = "#chat";
        addFiles(files);
    }, (over) => {
        byId("drop").hidden = !over;
    });
}

export function setChatProps(p) {
    props = p;
    byId("words").placeholder = p.follows ? "Ask about a picture" : "A picture is enough: this model writes captions";
    byId("starters").replaceChildren(...(p.follows ? STARTERS : []).map((text) => {
        const chip = make("button", "chip", text);
        chip.type = "button";
        chip.addEventListener("click", () => {
            byId("words").value = text;
            grow();
            byId("words").focus();
        });
        return chip;
    }));
}
