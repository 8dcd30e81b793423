// The model's probability map as a picture: in colours, or cut at a threshold.

/** The grey values of a PNG: {width, height, values: Uint8Array}. */
export async function readGrey(response) {
  const bitmap = await createImageBitmap(await response.blob());
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  const values = new Uint8Array(width * height);
  for (let i = 0; i < values.length; i += 1) values[i] = pixels[4 * i];
  return { width, height, values };
}

/** Colours for 0 to 255: transparent, through violet and orange to pale yellow, ever brighter. */
const COLOURS = (() => {
  const stops = [[20, 8, 60, 0], [92, 20, 130, 150], [200, 60, 90, 205], [250, 150, 40, 235], [255, 250, 190, 255]];
  return Array.from({ length: 256 }, (_, value) => {
    const place = (value / 255) * (stops.length - 1);
    const low = Math.min(stops.length - 2, Math.floor(place));
    return stops[low].map((channel, i) => Math.round(channel + (place - low) * (stops[low + 1][i] - channel)));
  });
})();

/** colours: [red, green, blue, alpha] of each grey value. */
function toCanvas({ width, height, values }, colours) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const words = new Uint32Array(new Uint8ClampedArray(colours.flat()).buffer); // a pixel at a time, in any byte order
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < values.length; i += 1) pixels[i] = words[values[i]];
  context.putImageData(image, 0, 0);
  return canvas;
}

/** The map in colours. */
export function heat(map) {
  return toCanvas(map, COLOURS);
}

/** What lies above a threshold (0 to 1), in one colour (#rrggbb). */
export function cut(map, threshold, colour) {
  const inside = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16)).concat(255);
  const outside = [0, 0, 0, 0];
  return toCanvas(map, COLOURS.map((_, value) => (value > threshold * 255 ? inside : outside)));
}
