// What browsers of the end of 2023 know, and no more (https://web.dev/baseline): a browser that does not
// know a thing shows no page at all. Names and methods are for tsc (tsconfig.json), which knows those of
// the language by the year.

import css from "@eslint/css";
import js from "@eslint/js";
import baseline from "eslint-plugin-baseline-js";

const available = 2023;
const known = { preset: "auto" };

export default [
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  {
    files: ["**/*.js"],
    plugins: { "baseline-js": baseline },
    rules: {
      ...js.configs.recommended.rules,
      "no-undef": "off", // which tsc does
      "baseline-js/use-baseline": [
        "error",
        { available, includeWebApis: known, includeJsBuiltins: known },
      ],
    },
  },
  {
    files: ["**/*.css"],
    plugins: { css },
    language: "css/css",
    rules: {
      ...css.configs.recommended.rules,
      // Where these are not known, the page looks a little different, and that is all; Safari has no
      // forced colours to adjust.
      "css/use-baseline": [
        "error",
        { available, allowProperties: ["accent-color", "forced-color-adjust", "user-select"] },
      ],
      "css/no-invalid-properties": ["error", { allowUnknownVariables: true }], // set by charts.js
    },
  },
];
