/* Where live frames come from: a camera or a video file, shown by a <video>; and whether a frame differs from the last one.
 *
 * There is no queue. A frame that comes while an answer is being made replaces the one before it: what is drawn is always the
 * newest, and `dropped` counts those that nobody looked at. */

const THUMB_WIDTH = 32;
const THUMB_HEIGHT = 24;

/* Why there is no camera, in words; null = there may be one. */
export function whyNoCamera() {
    if (navigator.mediaDevices?.getUserMedia) return null;
    if (!window.isSecureContext) {
        return "Browsers give a camera only to pages from this computer or over https. Start the server with\n" +
            "eyelet serve --host 0.0.0.0 --tls-self-signed\nand open the https address that it prints; or choose a video file.";
    }
    return "This browser has no camera interface. A video file works.";
}

function inWords(e) {
    switch (e.name) {
    case "NotAllowedError":
        return "The camera is not allowed for this page. Allow it at the left of the address bar, then start again.";
    case "NotFoundError": return "No camera was found on this device. A video file works too.";
    case "NotReadableError": return "The camera is in use by another program.";
    case "OverconstrainedError": return "That camera is gone; choose another.";
    }
    return `The camera does not start: ${e.message || e.name}.`;
}

export class Camera {
    constructor(video) {
        this.video = video;
        this.stream = null;
        this.url = null;
        this.fresh = false;   // a frame has come that nobody has looked at
        this.frames = 0;      // shown since start
        this.dropped = 0;     // of these, replaced before anybody looked
        this.onframe = () => {};
        this.onend = () => {};
        this.run = 0;         // callbacks of an earlier start do nothing
        this.canvas = document.createElement("canvas");
        this.canvas.width = THUMB_WIDTH;
        this.canvas.height = THUMB_HEIGHT;
        this.ctx = this.canvas.getContext("2d", { alpha: false, willReadFrequently: true });
        this.kept = null;
    }

    /* which: "environment" (back), "user" (front) or a device's id. Throws an Error in words. */
    async open(which) {
        this.close();
        const why = whyNoCamera();
        if (why) throw new Error(why);
        const isSide = which === "user" || which === "environment";
        const choice = isSide ? { facingMode: { ideal: which } } : { deviceId: { exact: which } };
        const run = this.run;
        let stream;
        try {
            stream = await navigator.mediaDevices.getUserMedia({
                audio: false,
                video: { ...choice, width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } },
            });
        } catch (e) {
            throw new Error(inWords(e));
        }
        if (run !== this.run) { // stopped while the browser asked its user
            stream.getTracks().forEach((t) => t.stop());
            return;
        }
        this.stream = stream;
        const [track] = stream.getVideoTracks();
        track.addEventListener("ended", () => this.stream === stream && this.onend("The camera was taken away."));
        this.video.classList.toggle("mirror", (track.getSettings().facingMode ?? which) === "user");
        this.video.srcObject = stream;
        await this.play();
    }

    async openFile(file) {
        this.close();
        this.url = URL.createObjectURL(file);
        this.video.classList.remove("mirror");
        this.video.src = this.url;
        this.video.loop = true;
        try {
            await this.play();
        } catch {
            this.close();
            throw new Error(`This browser cannot play ${file.name} (${file.type || "unknown type"}).`);
        }
    }

    async play() {
        const run = ++this.run;
        this.frames = this.dropped = 0;
        this.fresh = false;
        this.kept = null;
        await this.video.play();
        const { video } = this;
        const next = video.requestVideoFrameCallback
            ? (f) => video.requestVideoFrameCallback(f)
            : (f) => requestAnimationFrame(f); // older Firefox: a picture of the screen is as new as a frame gets
        const frame = () => {
            if (run !== this.run) return;
            next(frame);
            this.frames++;
            if (this.fresh) this.dropped++;
            this.fresh = true;
            this.onframe();
        };
        next(frame);
    }

    close() {
        this.run++;
        this.stream?.getTracks().forEach((t) => t.stop());
        this.stream = null;
        this.video.pause();
        this.video.srcObject = null;
        this.video.removeAttribute("src");
        if (this.url) URL.revokeObjectURL(this.url);
        this.url = null;
    }

    get isOpen() {
        return this.stream !== null || this.url !== null;
    }

    /* How much the newest frame differs from the one last kept: mean difference of a small grey picture, per cent of its range;
     * 100 when there is none. keep() makes it the one to compare with: frames are compared with what was sent, not with their
     * neighbours, so that slow changes add up. */
    difference() {
        const { ctx } = this;
        ctx.drawImage(this.video, 0, 0, THUMB_WIDTH, THUMB_HEIGHT);
        const { data } = ctx.getImageData(0, 0, THUMB_WIDTH, THUMB_HEIGHT);
        const grey = new Float32Array(THUMB_WIDTH * THUMB_HEIGHT);
        let sum = 0;
        for (let i = 0; i < grey.length; i++) {
            grey[i] = 0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2];
            if (this.kept) sum += Math.abs(grey[i] - this.kept[i]);
        }
        this.candidate = grey;
        return this.kept ? (sum * 100) / (grey.length * 255) : 100;
    }

    keep() {
        this.kept = this.candidate;
    }
}

/* Cameras by name. Names are empty until the user has allowed one. */
export async function listCameras() {
    try {
        const all = await navigator.mediaDevices.enumerateDevices();
        return all.filter((d) => d.kind === "videoinput" && d.deviceId);
    } catch {
        return [];
    }
}
