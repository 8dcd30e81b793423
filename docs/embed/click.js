// Clicks on a picture without Python: onnxruntime-web runs the network in WebAssembly, and this file does what
// Predictor in solution.py does around it; docs/embed.md explains the steps. A box is {start: [y, x], size: [height,
// width]} in pixels of the picture; a view is {box, size: [rows, columns], map} with the map's values row by row.
import * as ort from "onnxruntime-web";

const AXES = [0, 1];

/** Opens a file of `python -m utils.export` and the .json that it wrote beside it. */
export async function openModel(address) {
  const { preprocessing } = await (await fetch(address.replace(/\.onnx$/, ".json"))).json();
  return { ...preprocessing, session: await ort.InferenceSession.create(address, { executionProviders: ["wasm"] }) };
}

/** A picture for clicks, from the ImageData of a canvas. */
export class Picture {
  constructor(model, { data, width, height }) {
    Object.assign(this, { model, clicks: [], last: null, whole: { start: [0, 0], size: [height, width] } });
    this.colours = [0, 1, 2].map((c) => Float32Array.from({ length: width * height }, (_, i) => data[4 * i + c] / 255));
  }

  /** Adds a click at [y, x] and gives the mask, a Uint8Array with 1 on the object. */
  async click(at, positive) {
    this.clicks.push({ at, positive });
    const box = (this.last && this.objectBox(this.last))  // else a coarse pass finds the object to zoom in on
      ?? this.objectBox(await this.forwardPass(this.whole, this.model.coarse_size)) ?? this.whole;
    this.last = await this.forwardPass(box, this.model.working_size);
    const mask = new Uint8Array(this.colours[0].length), { size, map } = this.last;
    resize(map, size, { start: [0, 0], size }, box.size).forEach((p, i) => {
      const y = box.start[0] + Math.floor(i / box.size[1]), x = box.start[1] + i % box.size[1];
      mask[y * this.whole.size[1] + x] = p > this.model.threshold;
    });
    return mask;
  }

  /** The network's view of a box, averaged with that of the mirrored box. */
  async forwardPass(box, workingSize) {
    const size = inputSize(box.size, workingSize, this.model.side_multiple), area = size[0] * size[1];
    const maps = this.model.click_maps;  // clicks, and where the network knows them strokes and contours: none here
    const image = new Float32Array(8 * area), disks = new Float32Array(2 * maps * area);
    this.colours.forEach((map, c) => image.set(resize(map, this.whole.size, box, size), c * area));
    if (this.last) image.set(seenIn(this.last, box, size), 3 * area);
    for (const { at, positive } of this.clicks) {
      const [y, x] = AXES.map((a) => (at[a] - box.start[a] + 0.5) * size[a] / box.size[a] - 0.5);
      for (let i = 0; i < area; i++) {
        const distance = Math.hypot(Math.floor(i / size[1]) - y, i % size[1] - x);
        if (distance <= this.model.disk_radius) disks[i + (positive ? 0 : area)] = 1;
      }
    }
    const mirrored = (i) => i - 2 * (i % size[1]) + size[1] - 1;
    for (let i = 0; i < 4 * area; i++) image[4 * area + i] = image[mirrored(i)];
    for (let i = 0; i < 2 * area; i++) disks[maps * area + i] = disks[mirrored(i)];
    const { logits } = await this.model.session.run({
      image: new ort.Tensor("float32", image, [2, 4, ...size]),
      clicks: new ort.Tensor("float32", disks, [2, maps, ...size]),
    });
    const both = logits.data.map((value) => 1 / (1 + Math.exp(-value)));
    return { box, size, map: both.slice(0, area).map((p, i) => (p + both[area + mirrored(i)]) / 2) };
  }

  /** The box of a view's object and of all clicks, enlarged, within the picture; null if the view shows no object. */
  objectBox({ box, size, map }) {
    const object = [...map.keys()].filter((i) => map[i] > this.model.threshold);
    if (!object.length) return null;
    const [rows, columns] = [object.map((i) => Math.floor(i / size[1])), object.map((i) => i % size[1])];
    const ends = [rows, columns].map((cells, a) => {
      const [first, last] = cells.reduce(([low, high], i) => [Math.min(low, i), Math.max(high, i + 1)], [1e9, 0]);
      const clicks = this.clicks.map(({ at }) => at[a]), scale = box.size[a] / size[a];
      const low = Math.min(Math.floor(box.start[a] + first * scale), ...clicks);
      const high = Math.max(Math.ceil(box.start[a] + last * scale), ...clicks.map((i) => i + 1));
      const { min_box: least, expand_ratio: ratio } = this.model;
      const margin = (Math.max((high - low) * ratio, least * Math.max(...this.whole.size)) - (high - low)) / 2;
      return [Math.max(0, Math.min(low, Math.floor(low - margin))),
        Math.min(this.whole.size[a], Math.max(high, Math.ceil(high + margin)))];
    });
    return { start: ends.map(([low]) => low), size: ends.map(([low, high]) => high - low) };
  }
}

/** Rows and columns of a network input: about workingSize**2 pixels in the proportions of a box. */
function inputSize(box, workingSize, multiple) {
  const scale = workingSize / Math.sqrt(box[0] * box[1]) / multiple, most = Math.floor(2 * workingSize / multiple);
  return box.map((side) => multiple * Math.max(2, Math.min(most, Math.round(side * scale))));
}

/** A box of a map, resized: averages along an axis that shrinks, interpolates along one that grows. */
function resize(map, mapSize, box, size) {
  return combine(map, mapSize, AXES.map((a) => Array.from({ length: size[a] }, (_, i) => {
    const ratio = box.size[a] / size[a], from = i * ratio, to = Math.min(box.size[a], from + ratio), parts = [];
    if (ratio <= 1) return between(box.start[a], box.size[a], from + ratio / 2 - 0.5);
    for (let j = Math.floor(from); j < to; j++) {
      parts.push([box.start[a] + j, (Math.min(j + 1, to) - Math.max(j, from)) / ratio]);
    }
    return parts;
  })));
}

/** A view's map as another box shows it; 0 outside the view. */
function seenIn({ box, size, map }, other, otherSize) {
  const fitting = AXES.map((a) => Math.round(box.size[a] * otherSize[a] / other.size[a]));
  const small = AXES.map((a) => Math.min(size[a], Math.max(1, fitting[a])));
  return combine(resize(map, size, { start: [0, 0], size }, small), small, AXES.map((a) =>
    Array.from({ length: otherSize[a] }, (_, i) => {
      const inPicture = other.start[a] + (i + 0.5) * other.size[a] / otherSize[a];
      const at = (inPicture - box.start[a]) * small[a] / box.size[a] - 0.5;
      return at < -0.5 || at > small[a] - 0.5 ? [] : between(0, small[a], at);
    })));
}

/** Linear interpolation at a place of an axis: [[index, weight], [index, weight]]. */
function between(start, length, at) {
  const place = Math.max(0, Math.min(length - 1, at)), low = Math.floor(place);
  return [[start + low, 1 + low - place], [start + Math.min(low + 1, length - 1), place - low]];
}

/** A map of weighted sums of another's pixels: [[index, weight], ...] for each row, and for each column. */
function combine(map, [, width], [rows, columns]) {
  const lines = new Map(rows.flat().map(([y]) => [y, columns.map((parts) =>
    parts.reduce((sum, [x, weight]) => sum + weight * map[y * width + x], 0))]));
  return Float32Array.from(rows.flatMap((parts) => columns.map((_, x) =>
    parts.reduce((sum, [y, weight]) => sum + weight * lines.get(y)[x], 0))));
}
