// Small helpers for the page's elements.

export const byId = (id) => document.getElementById(id);

/** Makes an element: its attributes, and what is in it. */
export function make(name, attributes = {}, ...content) {
  return fill(document.createElement(name), attributes, content);
}

/** Makes an element of SVG. */
export function makeSvg(name, attributes = {}, ...content) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, content);
}

function fill(element, attributes, content) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...content);
  return element;
}
