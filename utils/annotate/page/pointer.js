// Mouse, pen and fingers on the picture. What they mean depends on the tool; see `Hand`.

const LONG_PRESS_MILLISECONDS = 480;
const STILL = 8; // CSS pixels that a finger or a polygon's corner may move and still be a tap
const CLOSE = 10; // CSS pixels around a polygon's first corner that close it

/**
 * Turns pointer events into calls of `actions`, which whoever makes a hand gives it:
 * click(point, isPositive), stroke(points), region(points), select(point), hover(point or null), and asks tool() for
 * the present tool. Points are [y, x] of the picture.
 */
export class Hand {
  constructor(canvas, view) {
    Object.assign(this, { canvas, view, actions: null });
    this.touches = new Map();
    this.gesture = null;
    this.region = []; // corners of the region being drawn
    this.pointer = null;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.cancel(event));
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("dblclick", () => this.region.length > 2 && this.closeRegion(true));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  // ------------------------------------------------------------------------------------------ events

  down(event) {
    document.activeElement?.blur(); // keys belong to the picture now
    this.canvas.setPointerCapture(event.pointerId);
    const place = this.place(event);
    if (event.pointerType === "touch") {
      this.touches.set(event.pointerId, place);
      if (this.touches.size === 2) this.beginPinch();
      if (this.touches.size > 1) return;
    }
    event.preventDefault();
    this.gesture = this.begin(event, place);
  }

  /** What a press begins: {kind, ...}. */
  begin(event, place) {
    const point = this.view.toPicture(...place);
    const tool = this.actions.tool();
    if (event.button === 1 || event.shiftKey || tool === "pan") return { kind: "pan", last: place };
    if (tool === "select" || (event.button === 0 && (event.ctrlKey || event.metaKey))) {
      this.actions.select(point);
      return null;
    }
    if (tool === "brush" || tool === "eraser") return { kind: "stroke", points: [point] };
    if (tool === "region") return event.button === 0 ? { kind: "region", start: place, points: [point] } : null;
    if (event.pointerType === "touch") return this.beginTap(place, point);
    if (event.button === 0 || event.button === 2) this.actions.click(point, event.button === 0 && !event.altKey);
    return null;
  }

  /** A finger: a tap is positive, a long press negative, a drag moves the picture. */
  beginTap(place, point) {
    const timer = setTimeout(() => {
      this.gesture = null;
      navigator.vibrate?.(30);
      this.actions.click(point, false);
    }, LONG_PRESS_MILLISECONDS);
    return { kind: "tap", start: place, last: place, point, timer };
  }

  move(event) {
    const place = this.place(event);
    if (this.touches.has(event.pointerId)) this.touches.set(event.pointerId, place);
    if (this.gesture?.kind === "pinch") {
      this.pinch();
      return;
    }
    this.pointer = this.view.toPicture(...place);
    const gesture = this.gesture;
    if (gesture?.kind === "tap" && distance(place, gesture.start) > STILL) {
      clearTimeout(gesture.timer);
      gesture.kind = "pan";
    }
    if (gesture?.kind === "pan") {
      this.view.pan(place[0] - gesture.last[0], place[1] - gesture.last[1]);
      gesture.last = place;
    }
    if (gesture?.kind === "stroke" || gesture?.kind === "region") this.extend(gesture, event);
    this.actions.hover(this.pointer);
  }

  /** All the places that the pointer went through since the last event. */
  extend(gesture, event) {
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) {
      const point = this.view.toPicture(...this.place(each));
      const last = gesture.points.at(-1);
      if (distance(point, last) * this.view.scale > 1) gesture.points.push(point);
    }
  }

  up(event) {
    this.touches.delete(event.pointerId);
    const gesture = this.gesture;
    if (gesture?.kind === "pinch" && this.touches.size) return;
    this.gesture = null;
    if (gesture?.kind === "tap") {
      clearTimeout(gesture.timer);
      this.actions.click(gesture.point, true);
    }
    if (gesture?.kind === "stroke") this.actions.stroke(gesture.points);
    if (gesture?.kind === "region") this.endRegionGesture(gesture, this.place(event));
    this.actions.hover(this.pointer);
  }

  cancel(event) {
    this.touches.delete(event.pointerId);
    clearTimeout(this.gesture?.timer);
    this.gesture = null;
  }

  leave() {
    this.pointer = null;
    this.actions.hover(null);
  }

  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 24 : event.deltaMode === 2 ? 400 : 1;
    const strength = event.ctrlKey ? 0.01 : 0.0016; // a pinch on a touch pad comes as small steps with Ctrl
    this.view.zoom(Math.exp(-event.deltaY * lines * strength), ...this.place(event));
  }

  // ------------------------------------------------------------------------------------------ two fingers

  beginPinch() {
    clearTimeout(this.gesture?.timer);
    this.gesture = { kind: "pinch", last: this.fingers() };
  }

  fingers() {
    const [first, second] = [...this.touches.values()];
    return { middle: [(first[0] + second[0]) / 2, (first[1] + second[1]) / 2], span: distance(first, second) };
  }

  pinch() {
    if (this.touches.size < 2) return;
    const { last } = this.gesture;
    const now = this.fingers();
    this.view.pan(now.middle[0] - last.middle[0], now.middle[1] - last.middle[1]);
    this.view.zoom(now.span / Math.max(1, last.span), ...now.middle);
    this.gesture.last = now;
  }

  // ------------------------------------------------------------------------------------------ regions

  /** A tap sets a corner, a drag draws a line; a line without corners before it is a whole region. */
  endRegionGesture(gesture, place) {
    if (distance(place, gesture.start) <= STILL && gesture.points.length < 12) {
      const isClosing = this.region.length > 2 && distance(place, this.view.toStage(this.region[0])) < CLOSE;
      if (isClosing) this.closeRegion(true);
      else this.region.push(gesture.points[0]);
    } else {
      const isWhole = this.region.length === 0;
      this.region.push(...gesture.points);
      if (isWhole) this.closeRegion(true);
    }
    this.actions.hover(this.pointer);
  }

  /** Ends the region and adds it to the mask, or cuts it out. */
  closeRegion(adds) {
    const points = this.region;
    this.region = [];
    if (points.length > 2) this.actions.region(points, adds);
    this.actions.hover(this.pointer);
  }

  dropCorner() {
    this.region.pop();
    this.actions.hover(this.pointer);
  }

  dropRegion() {
    this.region = [];
    this.actions.hover(this.pointer);
  }
}

function distance([a, b], [c, d]) {
  return Math.hypot(a - c, b - d);
}
