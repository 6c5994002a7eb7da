/* Pictures from files, the clipboard and drops, scaled down to what the model looks at. Camera frames take the same road.
 *
 * A model sees `side` pixels square, whatever it is given; a phone's 12 megapixels would only cost time on the way. Aspect and
 * orientation are kept: making it square (fit) is the server's work, done as the model's training did it. */

const MAX_FILE_BYTES = 64 << 20;
const AS_IS_BYTES = 1 << 20;     // a small file goes as it stands: nothing is lost to a second JPEG
const AS_IS_TYPES = ["image/jpeg", "image/png", "image/webp"];

/* Size for a picture of width x height: pad looks at the longer side, crop and stretch at the shorter. Never larger than it is. */
export function fitSize(width, height, side, fit) {
    const long = Math.max(width, height);
    const short = Math.min(width, height);
    let scale = side / (fit === "pad" ? long : short);
    scale = Math.min(scale, 1, (4 * side) / long); // a very long one: a strip of it is no use
    return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/* Something drawable to a JPEG data URI. canvas is reused by the caller. */
export function toJpeg(source, width, height, side, fit, canvas, quality = 0.92) {
    const size = fitSize(width, height, side, fit);
    if (canvas.width !== size.width) canvas.width = size.width;
    if (canvas.height !== size.height) canvas.height = size.height;
    const ctx = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
    ctx.fillStyle = "#fff"; // where it is transparent
    ctx.fillRect(0, 0, size.width, size.height);
    ctx.imageSmoothingQuality = "high";
    ctx.drawImage(source, 0, 0, size.width, size.height);
    return canvas.toDataURL("image/jpeg", quality);
}

function asDataUrl(blob) {
    return new Promise((resolve, reject) => {
        const reader = new FileReader();
        reader.onload = () => resolve(reader.result);
        reader.onerror = () => reject(new Error("the file cannot be read"));
        reader.readAsDataURL(blob);
    });
}

/* File to {name, url}. Throws an Error in words. */
export async function readPicture(file, props) {
    const name = file.name || "picture";
    if (!file.type.startsWith("image/")) throw new Error(`${name} is not a picture.`);
    if (file.size > MAX_FILE_BYTES) throw new Error(`${name} has ${file.size >> 20} MiB; 64 is the most this page reads.`);
    let bitmap;
    try {
        bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    } catch {
        throw new Error(`This browser cannot read ${name} (${file.type}). JPEG, PNG and WebP always work.`);
    }
    try {
        const size = fitSize(bitmap.width, bitmap.height, props.side, props.fit);
        if (size.width === bitmap.width && file.size <= AS_IS_BYTES && AS_IS_TYPES.includes(file.type)) {
            return { name, url: await asDataUrl(file) };
        }
        return { name, url: toJpeg(bitmap, bitmap.width, bitmap.height, props.side, props.fit, document.createElement("canvas")) };
    } finally {
        bitmap.close();
    }
}

/* Calls take(files) for what is dropped on the window or pasted; show(true) while something hovers. */
export function watchDrops(take, show) {
    let depth = 0; // dragenter and dragleave come for every child as well
    const hasFiles = (e) => e.dataTransfer && [...e.dataTransfer.types].includes("Files");
    window.addEventListener("dragenter", (e) => {
        if (!hasFiles(e)) return;
        depth++;
        show(true);
    });
    window.addEventListener("dragleave", (e) => {
        if (!hasFiles(e)) return;
        depth = Math.max(0, depth - 1);
        if (depth === 0) show(false);
    });
    window.addEventListener("dragover", (e) => {
        if (hasFiles(e)) e.preventDefault();
    });
    window.addEventListener("drop", (e) => {
        depth = 0;
        show(false);
        if (!hasFiles(e)) return;
        e.preventDefault(); // else the browser leaves this page for the picture
        take([...e.dataTransfer.files]);
    });
    window.addEventListener("paste", (e) => {
        const files = [...(e.clipboardData?.files ?? [])];
        if (!files.length) return;
        e.preventDefault();
        take(files);
    });
}
