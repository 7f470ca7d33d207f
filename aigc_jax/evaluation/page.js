"use strict";
// The button of the theme, and values of the curves at the pointer, read back from their paths.

const root = document.documentElement;
const button = document.getElementById("theme");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
button.hidden = false;
button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; name(); });
prefersDark.addEventListener("change", name);
name();

const axis = (text) => {
  const [start, end, low, high] = text.split(" ").slice(0, 4).map(Number);
  const log = text.endsWith("log");
  const [from, to] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  return (at) => {
    const value = from + ((at - start) / (end - start)) * (to - from);
    return log ? 10 ** value : value;
  };
};
const points = (path) =>
  [...path.getAttribute("d").matchAll(/(-?[\d.]+),(-?[\d.]+)/g)].map((m) => [+m[1], +m[2]]);
const nearest = (line, x) =>
  line.reduce((best, p) => (Math.abs(p[0] - x) < Math.abs(best[0] - x) ? p : best), line[0]);

for (const figure of document.querySelectorAll("figure.chart")) {
  const svg = figure.querySelector("svg");
  const cursor = svg.querySelector(".cursor");
  const at = figure.querySelector(".at");
  const outputs = [...figure.querySelectorAll(".legend output")];
  const step = axis(svg.dataset.x);
  const value = axis(svg.dataset.y);
  let lines = null;

  svg.addEventListener("pointermove", (event) => {
    lines = lines || [...svg.querySelectorAll(".line > path:first-of-type")].map(points);
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const found = lines.map((line) => nearest(line, x));
    const closest = nearest(found.filter(Boolean), x);
    if (!closest) return;
    cursor.setAttribute("x1", closest[0]);
    cursor.setAttribute("x2", closest[0]);
    cursor.setAttribute("visibility", "visible");
    at.textContent = `step ${Math.round(step(closest[0])).toLocaleString("en")}`;
    found.forEach((p, i) => { if (p) outputs[i].textContent = +value(p[1]).toPrecision(4); });
  });
  svg.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    at.textContent = "";
    outputs.forEach((output) => { output.textContent = output.dataset.last; });
  });
}
