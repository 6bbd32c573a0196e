// Helpers for the page's elements.

/**
 * Returns the element with an id, checked to be of a kind.
 *
 * @template {Element} [Kind=HTMLElement]
 * @param {string} id
 * @param {new () => Kind} kind
 * @returns {Kind}
 */
export function byId(id, kind = /** @type {any} */ (HTMLElement)) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new TypeError(`#${id} is not of type ${kind.name}`);
  return found;
}

/**
 * Makes an element with attributes and content.
 *
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, string | number>} attributes
 * @param {(Node | string)[]} content
 */
export function make(name, attributes = {}, ...content) {
  return fill(document.createElement(name), attributes, content);
}

/**
 * Makes an SVG element.
 *
 * @template {keyof SVGElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, string | number>} attributes
 * @param {(Node | string)[]} content
 */
export function makeSvg(name, attributes = {}, ...content) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, content);
}

/**
 * @template {Element} Kind
 * @param {Kind} element
 * @param {Record<string, string | number>} attributes
 * @param {(Node | string)[]} content
 */
function fill(element, attributes, content) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, `${value}`);
  element.append(...content);
  return element;
}
