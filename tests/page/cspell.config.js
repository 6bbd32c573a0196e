// Check the spelling of documents, docstrings, comments and messages: British, with -ise. Code is skipped.
// To accept a word that the dictionaries lack, add it to words.txt and keep that file sorted.

// American spellings that the dictionaries also accept, with the British ones.
const american = {
  analyze: "analyse",
  behavior: "behaviour",
  canceled: "cancelled",
  catalog: "catalogue",
  center: "centre",
  centered: "centred",
  color: "colour",
  colored: "coloured",
  colors: "colours",
  favor: "favour",
  fulfill: "fulfil",
  gray: "grey",
  grayscale: "greyscale",
  initialize: "initialise",
  labeled: "labelled",
  labeling: "labelling",
  modeling: "modelling",
  normalize: "normalise",
  normalized: "normalised",
  normalization: "normalisation",
  organize: "organise",
  quantize: "quantise",
  quantized: "quantised",
  quantization: "quantisation",
  recognize: "recognise",
  recognized: "recognised",
  recognizes: "recognises",
  serialize: "serialise",
  serialized: "serialised",
  summarize: "summarise",
  visualize: "visualise",
};

const codeBlock = /^( *)```[^]*?^\1```/gm;
const code = /`[^`\n]+`/g;
const url = /\bhttps?:\/\/\S+/g;
const escape = /\\[a-z]/g;
const path = /(?<=[\s"(])\/[\w/.-]+/g;
const placeholder = /\$?\{[^{}\n]*\}/g;
const title = /Gray-Level Histograms/g; // the title of a paper

const docstring = /^[ \t]*"""(?=[^\s,.)])[^]*?"""/gm;
const hashComment = /(?<=^|\s)#.*/gm;
const slashComment = /\/\/ .*|\/\*[^]*?\*\//g;
// A string with at least two spaces is a message; other strings are names.
const message = /(["`])(?=[\w{<'])(?:(?!\1)[^\n\\ ]|\\.)+(?: (?:(?!\1)[^\n\\]|\\.)+){2}\1/g;

export default {
  language: "en-GB",
  globRoot: "../..",
  files: [
    "**/*.{md,py,js,css,html,toml,yaml,yml,cff}",
    "**/{Makefile,Dockerfile,Caddyfile}",
    ".ci/*",
  ],
  enableGlobDot: true,
  useGitignore: true,
  ignorePaths: [".git", ".venv*", "node_modules", "results"],
  dictionaryDefinitions: [{ name: "project", path: "words.txt" }],
  dictionaries: ["project", "python", "data-science"],
  flagWords: Object.entries(american).map(([word, better]) => `${word}->${better}`),
  ignoreRegExpList: [url, path, escape, placeholder, title],
  overrides: [
    { filename: "**/*.md", ignoreRegExpList: [codeBlock, code] },
    {
      filename: "**/*.py",
      includeRegExpList: [docstring, hashComment, message],
      ignoreRegExpList: [code],
    },
    { filename: "**/*.js", includeRegExpList: [slashComment, message] },
    { filename: "**/*.css", includeRegExpList: [slashComment] },
    {
      filename: [
        "**/*.{toml,yaml}",
        ".github/{*,workflows/*}.yml",
        "**/{Makefile,Dockerfile,Caddyfile}",
        ".ci/*",
      ],
      includeRegExpList: [hashComment],
      ignoreRegExpList: [code],
    },
  ],
};
