// A mask's outline, as exact as the screen can show it.

/** The corners [x, y] of the closed lines of path data in the server's form: M, then h and v in turn, then z. */
function corners(path) {
  const lines = [];
  for (const part of path.split("M").slice(1)) {
    const [, x, y, steps] = part.match(/^(-?\d+) (-?\d+)([^z]*)z$/);
    const point = [Number(x), Number(y)];
    const line = [[...point]];
    for (const [, direction, length] of steps.matchAll(/([hv])(-?\d+)/g)) {
      point[direction === "h" ? 0 : 1] += Number(length);
      line.push([...point]);
    }
    lines.push(line);
  }
  return lines;
}

/** The line without corners that lie closer than `step` to the one before. */
function thinned(line, step) {
  let last = line[0];
  return line.filter((point, i) => {
    const isKept = i === 0 || Math.abs(point[0] - last[0]) + Math.abs(point[1] - last[1]) >= step;
    if (isKept) last = point;
    return isKept;
  });
}

export class Outline {
  /** The server's description of a mask: SVG path data, box [top, left, bottom, right] or null, area in pixels. */
  constructor({ path, box, area }) {
    Object.assign(this, { path, box, area });
    this.shape = new Path2D(path);
    this.thinnedShapes = new Map();
  }

  /** The outline for `scale` screen pixels per pixel of the picture, without corners that nobody could see. */
  shapeAt(scale) {
    const step = 2 ** Math.floor(Math.log2(1 / scale));
    if (step < 2) return this.shape;
    if (!this.thinnedShapes.has(step)) this.thinnedShapes.set(step, this.thinnedShape(step));
    return this.thinnedShapes.get(step);
  }

  thinnedShape(step) {
    const shape = new Path2D();
    for (const line of corners(this.path)) {
      thinned(line, step).forEach(([x, y], i) => (i ? shape.lineTo(x, y) : shape.moveTo(x, y)));
      shape.closePath();
    }
    return shape;
  }
}
