(() => {
  "use strict";
  for (const bar of document.querySelectorAll(".filter")) {
    const samples = bar.parentElement.querySelectorAll(".sample");
    const verdicts = bar.querySelectorAll("button:not(.unfold)");
    const unfold = bar.querySelector(".unfold");
    for (const button of verdicts) {
      button.addEventListener("click", () => {
        for (const other of verdicts) other.setAttribute("aria-pressed", String(other === button));
        const wanted = button.dataset.verdict;
        for (const sample of samples) sample.hidden = wanted !== undefined && sample.dataset.verdict !== wanted;
      });
    }
    unfold.addEventListener("click", () => {
      const open = unfold.getAttribute("aria-pressed") !== "true";
      unfold.setAttribute("aria-pressed", String(open));
      for (const sample of samples) for (const part of sample.querySelectorAll("details")) part.open = open;
    });
    bar.hidden = false;
  }

  const make = (frame, name) => {
    const element = document.createElement("div");
    element.className = name;
    element.hidden = true;
    frame.append(element);
    return element;
  };
  for (const frame of document.querySelectorAll(".frame")) {
    const drawing = frame.querySelector("svg");
    const lines = [...frame.querySelectorAll("path[data-points]")].map((path) => ({
      name: path.dataset.name,
      dot: make(frame, `dot ${path.classList[1]}`),
      points: path.dataset.points.split(";").map((point) => {
        const [x, y, step, value] = point.split(" ");
        return { x: Number(x), y: Number(y), step, value };
      }),
    }));
    if (lines.length === 0) continue;
    // The browser's own tooltip (the drawing's title) would lie over this one.
    drawing.style.pointerEvents = "none";
    const cursor = make(frame, "cursor");
    const tip = make(frame, "tip");
    const all = [cursor, tip, ...lines.map((line) => line.dot)];
    frame.addEventListener("pointermove", (event) => {
      const area = drawing.getBoundingClientRect();
      const outer = frame.getBoundingClientRect();
      const [left, top] = [area.left - outer.left, area.top - outer.top];
      const at = (event.clientX - area.left) / area.width;
      if (at < -0.05 || at > 1.05) return;
      const near = lines.map((line) =>
        line.points.reduce((best, point) => (Math.abs(point.x - at) < Math.abs(best.x - at) ? point : best)));
      for (const element of all) element.hidden = false;
      near.forEach((point, index) => {
        lines[index].dot.style.left = `${left + point.x * area.width}px`;
        lines[index].dot.style.top = `${top + point.y * area.height}px`;
      });
      const x = left + near[0].x * area.width;
      Object.assign(cursor.style, { left: `${x}px`, top: `${top}px`, height: `${area.height}px` });
      tip.textContent = near.map((point, index) => `${lines[index].name}: ${point.value} at step ${point.step}`).join("\n");
      tip.style.left = `${x > outer.width / 2 ? x - tip.offsetWidth - 10 : x + 10}px`;
    });
    frame.addEventListener("pointerleave", () => { for (const element of all) element.hidden = true; });
  }
})();
