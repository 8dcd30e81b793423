// The picture on the screen: zoom, pan, and everything that is drawn over it.
// Points of the picture are [y, x] in pixels; the first pixel reaches from 0 to 1.

import { drawClick, drawNumber } from "./marks.js";

const MAX_SCALE = 48;
const MARGIN = 10; // CSS pixels around a fitted picture
const SHARP_FROM = 3; // screen pixels per picture pixel from which single pixels are shown as squares
const CROWD = 300; // more shapes than that are drawn plainly, and only when the view rests
const REST_MILLISECONDS = 150;
const LEVEL_PIXELS = 1.5e6; // halves of the picture are kept ready down to about this size

/** The layers from the top down, see View.refresh. */
export const CURSOR = 1, SCENE = 2, STILL = 3, PICTURE = 4;

export class View {
  ground = "#101215"; // around the picture

  constructor(stage, tools, base, still, masks, overlay) {
    this.stage = stage;
    this.tools = tools; // they cover the left of the stage
    this.base = base.getContext("2d", { alpha: false });
    this.still = still.getContext("2d");
    this.masks = masks.getContext("2d");
    this.overlay = overlay.getContext("2d");
    this.levels = [];
    this.size = [0, 0]; // height, width of the picture
    this.scale = 1;
    this.top = 0; // where the picture's corner lies on the stage, in CSS pixels
    this.left = 0;
    this.isFitted = true;
    this.shapes = []; // what stays as it is while an object is in work, see `setShapes`
    this.drawn = null; // how a crowd of shapes was drawn last: {canvas, scale, left, top}
    this.scene = null; // what to draw over it, see `paintScene`
    this.cursor = null; // drawn on the overlay, see `paintOverlay`
    this.outdated = 0; // the lowest layer that must be drawn anew
    this.changed = () => {};
    new ResizeObserver(() => this.resize()).observe(stage);
  }

  // ------------------------------------------------------------------------------------------ frames

  resize() {
    const { clientWidth, clientHeight } = this.stage;
    this.ratio = window.devicePixelRatio || 1;
    for (const { canvas } of [this.base, this.still, this.masks, this.overlay]) {
      canvas.width = Math.round(clientWidth * this.ratio);
      canvas.height = Math.round(clientHeight * this.ratio);
    }
    this.drawn = null;
    if (this.isFitted) this.fit();
    this.refresh();
  }

  /** Shows another picture, whole. */
  setPicture(image, height, width) {
    this.drawn = null;
    this.levels = image ? halves(image) : [];
    this.size = [height, width];
    this.fit();
    this.refresh(); // without an image too, so that the last one goes
  }

  fit() {
    const [height, width] = this.size;
    if (!height) return;
    const { clientWidth, clientHeight } = this.stage;
    const covered = this.tools.offsetLeft + this.tools.offsetWidth + MARGIN;
    const free = [clientWidth - covered - MARGIN, clientHeight - 2 * MARGIN];
    this.scale = Math.min(free[0] / width, free[1] / height, MAX_SCALE / 2);
    this.left = covered + (free[0] - width * this.scale) / 2;
    this.top = MARGIN + (free[1] - height * this.scale) / 2;
    this.isFitted = true;
    this.refresh();
  }

  /** Zooms so that the point of the picture under (x, y) of the stage stays there. */
  zoom(factor, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    const least = 0.2 * Math.min(this.stage.clientWidth / this.size[1], this.stage.clientHeight / this.size[0]);
    const scale = Math.min(MAX_SCALE, Math.max(Math.min(least, 1), this.scale * factor));
    this.left = x - (x - this.left) * (scale / this.scale);
    this.top = y - (y - this.top) * (scale / this.scale);
    this.scale = scale;
    this.isFitted = false;
    this.pan(0, 0);
  }

  /** Moves the picture, which never leaves the stage altogether. */
  pan(x, y) {
    const keep = 60;
    const { clientWidth, clientHeight } = this.stage;
    this.left = Math.min(clientWidth - keep, Math.max(keep - this.size[1] * this.scale, this.left + x));
    this.top = Math.min(clientHeight - keep, Math.max(keep - this.size[0] * this.scale, this.top + y));
    if (x || y) this.isFitted = false;
    this.refresh();
  }

  /** The point [y, x] of the picture under (x, y) of the stage. */
  toPicture(x, y) {
    return [(y - this.top) / this.scale, (x - this.left) / this.scale];
  }

  /** Where a point of the picture lies on the stage, [x, y]. */
  toStage([y, x]) {
    return [this.left + x * this.scale, this.top + y * this.scale];
  }

  contains([y, x]) {
    return y >= 0 && x >= 0 && y < this.size[0] && x < this.size[1];
  }

  // ------------------------------------------------------------------------------------------ drawing

  /**
   * Draws a layer and those above it soon, once, however often it is asked for. The picture at the bottom takes
   * longest where there is no graphics card, and a click or a move of the hand doesn't change it.
   */
  refresh(layer = PICTURE) {
    if (!this.outdated) requestAnimationFrame(() => this.draw());
    this.outdated = Math.max(this.outdated, layer);
  }

  draw() {
    const layer = this.outdated;
    this.outdated = 0;
    if (layer >= PICTURE) this.paintPicture();
    if (layer >= PICTURE && this.drawn) this.moveShapes();
    else if (layer >= STILL) this.paintShapes();
    if (layer >= SCENE) this.paintScene();
    this.paintOverlay();
    this.changed();
  }

  toPictureFrame(context) {
    const r = this.ratio;
    context.setTransform(this.scale * r, 0, 0, this.scale * r, this.left * r, this.top * r);
  }

  toStageFrame(context) {
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
  }

  paintPicture() {
    const context = this.base;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = this.ground;
    context.fillRect(0, 0, context.canvas.width, context.canvas.height);
    if (!this.levels.length) return;
    this.toPictureFrame(context);
    const [height, width] = this.size;
    const level = Math.max(0, Math.min(this.levels.length - 1, Math.floor(-Math.log2(this.scale * this.ratio))));
    context.imageSmoothingEnabled = this.scale * this.ratio < SHARP_FROM;
    context.imageSmoothingQuality = "medium";
    context.drawImage(this.levels[level], 0, 0, width, height);
  }

  /**
   * Finished objects and proposals: [{outline, colour, edge, fill, line, dashed, number}]. There may be thousands, so
   * that they have a layer of their own and are drawn only when they or the view have changed.
   */
  setShapes(shapes) {
    const isSame = shapes.length === this.shapes.length && shapes.every((shape, i) => isLike(shape, this.shapes[i]));
    if (isSame) return;
    this.shapes = shapes;
    this.refresh(STILL);
  }

  paintShapes() {
    clear(this.still);
    this.drawn = null;
    if (!this.levels.length) return;
    this.toPictureFrame(this.still);
    const isCrowded = this.shapes.length > CROWD;
    const look = isCrowded ? { dashed: false, isPlain: true } : {};
    for (const shape of this.shapes) this.paintShape(this.still, { ...shape, ...look });
    if (isCrowded) this.keepDrawn();
    else this.paintNumbers();
  }

  paintNumbers() {
    this.toStageFrame(this.still);
    for (const { outline: { box }, number, colour } of this.shapes) {
      if (number && box && this.isVisible(box)) drawNumber(this.still, this.toStage(box), number, colour);
    }
  }

  keepDrawn() {
    const { width, height } = this.still.canvas;
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d").drawImage(this.still.canvas, 0, 0);
    const { scale, left, top } = this;
    this.drawn = { canvas, scale, left, top };
  }

  /** Thousands of shapes take long to draw: while the view moves, what was drawn last moves with it. */
  moveShapes() {
    const { canvas, scale, left, top } = this.drawn;
    const [factor, r] = [this.scale / scale, this.ratio];
    clear(this.still);
    this.still.setTransform(factor, 0, 0, factor, (this.left - left * factor) * r, (this.top - top * factor) * r);
    this.still.drawImage(canvas, 0, 0);
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.refresh(STILL), REST_MILLISECONDS);
  }

  /**
   * The object in work.
   * scene: {shapes, layer: {bitmap, alpha} or null, lines: [{points, isClosed, colour, isPending}], clicks, clickSize}
   */
  paintScene() {
    const context = this.masks;
    clear(context);
    if (!this.scene || !this.levels.length) return;
    const { shapes, layer, lines, clicks, clickSize } = this.scene;
    this.toPictureFrame(context);
    if (layer) {
      context.globalAlpha = layer.alpha;
      context.imageSmoothingEnabled = true;
      context.drawImage(layer.bitmap, 0, 0, this.size[1], this.size[0]);
      context.globalAlpha = 1;
    }
    for (const shape of shapes) this.paintShape(context, shape);
    for (const line of lines) this.paintLine(context, line);
    this.toStageFrame(context);
    for (const click of clicks) drawClick(context, this.toStage([click.y + 0.5, click.x + 0.5]), click, clickSize);
  }

  /** A box, a stroke or a lasso as it was drawn. */
  paintLine(context, { points, isClosed, colour, isPending }) {
    tracePoints(context, points);
    if (isClosed) context.closePath();
    context.setLineDash(isPending ? [4 / this.scale, 4 / this.scale] : []);
    for (const [style, width] of [["#000b", 3.6], [colour, 2]]) {
      context.strokeStyle = style;
      context.lineWidth = width / this.scale;
      context.stroke();
    }
    context.setLineDash([]);
  }

  paintShape(context, { outline, colour, edge = colour, fill, line, dashed, isPlain }) {
    if (!outline.box || !this.isVisible(outline.box)) return;
    const shape = outline.shapeAt(this.scale * this.ratio);
    if (fill > 0) {
      context.globalAlpha = fill;
      context.fillStyle = colour;
      context.fill(shape, "evenodd");
      context.globalAlpha = 1;
    }
    if (line > 0) {
      context.lineJoin = "round";
      context.strokeStyle = "#000b"; // a dark rim keeps the line readable on bright ground
      context.lineWidth = (line + 1.6) / this.scale;
      if (!isPlain) context.stroke(shape);
      context.setLineDash(dashed ? [7 / this.scale, 5 / this.scale] : []);
      context.strokeStyle = edge;
      context.lineWidth = line / this.scale;
      context.stroke(shape);
      context.setLineDash([]);
    }
  }

  isVisible([top, left, bottom, right]) {
    const [x0, y0] = this.toStage([top, left]);
    const [x1, y1] = this.toStage([bottom, right]);
    return x1 > 0 && y1 > 0 && x0 < this.stage.clientWidth && y0 < this.stage.clientHeight;
  }

  /** What moves with the hand. cursor: {strokes, lines, region, pointer, circle: [y, x], radius, aim: [y, x]} */
  paintOverlay() {
    const context = this.overlay;
    clear(context);
    const cursor = this.cursor;
    if (!cursor || !this.levels.length) return;
    this.toPictureFrame(context);
    for (const stroke of cursor.strokes ?? []) this.paintStroke(context, stroke);
    if (cursor.region?.length) this.paintRegion(context, cursor.region, cursor.pointer);
    for (const line of cursor.lines ?? []) this.paintLine(context, line);
    if (cursor.circle) this.paintCircle(context, cursor.circle, cursor.radius);
    if (cursor.aim) this.paintAim(context, cursor.aim);
  }

  paintStroke(context, { points, radius, colour }) {
    context.globalAlpha = 0.6;
    context.strokeStyle = colour;
    context.lineWidth = Math.max(1, 2 * radius);
    context.lineCap = context.lineJoin = "round";
    tracePoints(context, points);
    context.stroke();
    context.globalAlpha = 1;
  }

  paintRegion(context, points, pointer) {
    tracePoints(context, pointer ? [...points, pointer] : points);
    context.fillStyle = "#4aa8ff33";
    context.fill();
    for (const [colour, width] of [["#000b", 3.5], ["#fff", 1.7]]) {
      context.strokeStyle = colour;
      context.lineWidth = width / this.scale;
      context.stroke();
    }
    this.toStageFrame(context);
    for (const [i, point] of (points.length < 60 ? points : points.slice(0, 1)).entries()) {
      context.beginPath();
      context.arc(...this.toStage(point), i ? 3.5 : 6, 0, 7);
      context.fillStyle = i ? "#fff" : "#4aa8ff";
      context.fill();
      context.strokeStyle = "#000";
      context.lineWidth = 1;
      context.stroke();
    }
    this.toPictureFrame(context);
  }

  /** The cross that keys move. */
  paintAim(context, [y, x]) {
    const [near, far] = [4 / this.scale, 16 / this.scale];
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + near * dx, y + near * dy);
      context.lineTo(x + far * dx, y + far * dy);
    }
    for (const [colour, width] of [["#000c", 4], ["#fff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width / this.scale;
      context.stroke();
    }
  }

  paintCircle(context, [y, x], radius) {
    for (const [colour, width] of [["#000c", 3], ["#fff", 1.4]]) {
      context.beginPath();
      context.arc(x, y, Math.max(radius, 0.5), 0, 7);
      context.strokeStyle = colour;
      context.lineWidth = width / this.scale;
      context.stroke();
    }
  }
}

function isLike(shape, other) {
  return Object.keys(shape).every((key) => shape[key] === other[key]);
}

function clear(context) {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, context.canvas.width, context.canvas.height);
}

function tracePoints(context, points) {
  context.beginPath();
  points.forEach(([y, x], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  if (points.length === 1) context.lineTo(points[0][1] + 1e-3, points[0][0]);
}

/** The picture and halves of it, of halves..., so that a large picture is drawn fast and clean when zoomed out. */
function halves(image) {
  const levels = [image];
  let [width, height] = [image.naturalWidth, image.naturalHeight];
  while (width * height > LEVEL_PIXELS) {
    [width, height] = [Math.ceil(width / 2), Math.ceil(height / 2)];
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, height];
    canvas.getContext("2d").drawImage(levels.at(-1), 0, 0, width, height);
    levels.push(canvas);
  }
  return levels;
}
