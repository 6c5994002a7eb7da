/* Where the time of the newest answers went: one column per answer, its stages stacked, milliseconds upwards. */

const COLUMNS = 120;
const MARGIN = 60; // of the scale's words
const HEAD = 20;

/* id: the property of a sample; colour: a custom property of style.css, so that light and dark differ */
export const STAGES = [
    { id: "capture", name: "capture, JPEG", colour: "--stage-capture" },
    { id: "decode", name: "decode, resize", colour: "--stage-decode" },
    { id: "vision", name: "vision", colour: "--stage-vision" },
    { id: "prefill", name: "prefill", colour: "--stage-prefill" },
    { id: "generate", name: "tokens", colour: "--stage-generate" },
    { id: "other", name: "network, waiting", colour: "--stage-other" },
];

export class Chart {
    constructor(canvas) {
        this.canvas = canvas;
        this.samples = [];
        this.asked = false;
        const again = () => {
            this.colours = null;
            this.ask();
        };
        matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
        new ResizeObserver(again).observe(canvas);
    }

    /* sample: milliseconds by stage id */
    add(sample) {
        this.samples.push(sample);
        if (this.samples.length > COLUMNS) this.samples.shift();
        this.ask();
    }

    clear() {
        this.samples = [];
        this.ask();
    }

    /* At most one drawing per 100 ms: the processor is the model's. */
    ask() {
        if (this.asked) return;
        this.asked = true;
        setTimeout(() => requestAnimationFrame(() => {
            this.asked = false;
            this.draw();
        }), 100);
    }

    draw() {
        const { canvas } = this;
        const width = canvas.clientWidth;
        const height = canvas.clientHeight;
        if (!width || !height) return; // its view is hidden
        const scale = window.devicePixelRatio || 1;
        if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
            canvas.width = Math.round(width * scale);
            canvas.height = Math.round(height * scale);
        }
        if (!this.colours) {
            const style = getComputedStyle(canvas);
            const read = (name) => style.getPropertyValue(name).trim();
            this.colours = { grid: read("--line"), text: read("--muted"), stages: STAGES.map((s) => read(s.colour)) };
        }
        const ctx = canvas.getContext("2d");
        ctx.setTransform(scale, 0, 0, scale, 0, 0);
        ctx.clearRect(0, 0, width, height);
        const top = this.top();
        this.grid(ctx, width, height, top);
        if (!this.samples.length) {
            ctx.textAlign = "left";
            ctx.fillText("milliseconds per answer, newest at the right", MARGIN, height - 12);
        }
        const left = MARGIN;
        const step = (width - left) / COLUMNS;
        const x0 = width - this.samples.length * step;
        this.samples.forEach((sample, i) => {
            let y = height;
            STAGES.forEach((stage, k) => {
                const h = ((sample[stage.id] || 0) / top) * (height - HEAD);
                ctx.fillStyle = this.colours.stages[k];
                ctx.fillRect(x0 + i * step, y - h, Math.max(step - 0.5, 1), h);
                y -= h;
            });
        });
    }

    /* The scale's end: 1, 2 or 5 times a power of ten, above nearly all columns; one slow answer does not flatten the rest. */
    top() {
        const sums = this.samples.map((s) => STAGES.reduce((sum, stage) => sum + (s[stage.id] || 0), 0)).sort((a, b) => a - b);
        const most = sums.length ? sums[Math.floor((sums.length - 1) * 0.95)] : 100;
        const power = 10 ** Math.floor(Math.log10(Math.max(most, 1)));
        return [1, 2, 5, 10].map((k) => k * power).find((t) => t >= most);
    }

    grid(ctx, width, height, top) {
        ctx.font = "11px system-ui, sans-serif";
        ctx.textAlign = "right";
        for (const part of [0.5, 1]) {
            const y = height - part * (height - HEAD);
            ctx.fillStyle = this.colours.grid;
            ctx.fillRect(MARGIN, y, width - MARGIN, 1);
            ctx.fillStyle = this.colours.text;
            ctx.fillText(`${top * part} ms`, MARGIN - 6, y + 4);
        }
    }
}
