// Small signs on the picture, of the same size at every zoom.

/** A disk with a plus or a minus; hollow while the server hasn't answered. */
export function drawClick(context, [x, y], { positive, isPending, isHovered }, size) {
  const colour = positive ? "#18a558" : "#e5404f";
  const radius = isHovered ? size * 1.35 : size;
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.fillStyle = isPending ? "#0007" : colour;
  context.fill();
  context.lineWidth = Math.max(1.5, size / 4.5);
  context.strokeStyle = isPending ? colour : "#fff";
  context.stroke();
  const arm = radius * 0.55;
  context.beginPath();
  context.moveTo(x - arm, y);
  context.lineTo(x + arm, y);
  if (positive) {
    context.moveTo(x, y - arm);
    context.lineTo(x, y + arm);
  }
  context.strokeStyle = "#fff";
  context.stroke();
}

/** A number in a frame of its object's colour, with its left upper corner at [x, y]. */
export function drawNumber(context, [x, y], number, colour) {
  context.font = "600 12px system-ui, sans-serif";
  const text = String(number);
  const width = context.measureText(text).width + 10;
  context.beginPath();
  context.roundRect(x, y, width, 18, 4);
  context.fillStyle = "#000b";
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = colour;
  context.stroke();
  context.fillStyle = "#fff";
  context.textBaseline = "middle";
  context.fillText(text, x + 5, y + 9.5);
}
