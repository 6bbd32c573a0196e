// Makes 28 x 28 pixels from any picture, and shows them on the page.

import { SIDE } from "./network.js";

const small = document.createElement("canvas");

/**
 * Turns a picture into 28 x 28 shades naively: resizes all of it, ignoring its aspect. A picture of
 * 28 x 28 keeps its own shades.
 *
 * @param {Blob} picture
 * @returns {Promise<Uint8Array<ArrayBuffer>>} 255 is white.
 * @throws {DOMException} The browser cannot read it.
 */
export async function resize(picture) {
  const bitmap = await createImageBitmap(picture);
  small.width = small.height = SIDE;
  const context = context2d(small, { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white";
  context.fillRect(0, 0, SIDE, SIDE);
  context.drawImage(bitmap, 0, 0, SIDE, SIDE);
  bitmap.close();
  const { data } = context.getImageData(0, 0, SIDE, SIDE);
  return Uint8Array.from({ length: SIDE * SIDE }, (_, i) =>
    Math.round(0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]),
  );
}

/**
 * Decodes a 28 x 28 PNG file in base64.
 *
 * @param {string} base64
 */
export function decode(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return resize(new Blob([bytes], { type: "image/png" }));
}

/**
 * Paints 28 x 28 pixels.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {(pixel: number) => number[]} colour Returns a pixel's red, green and blue.
 */
export function paint(canvas, colour) {
  canvas.width = canvas.height = SIDE;
  const context = context2d(canvas);
  const image = context.createImageData(SIDE, SIDE);
  for (let i = 0; i < SIDE * SIDE; i += 1) image.data.set([...colour(i), 255], 4 * i);
  context.putImageData(image, 0, 0);
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {CanvasRenderingContext2DSettings} [settings]
 */
export function context2d(canvas, settings) {
  const context = canvas.getContext("2d", settings);
  if (!context) throw new Error("This browser has no canvas to draw on.");
  return context;
}
