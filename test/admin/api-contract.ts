// Holds every answer against the OpenAPI document: an answer that is not described is an error.
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';

interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema: object }>> }>
  >;
}

export interface OpenApi {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

export class Contract {
  readonly document: OpenApi;
  readonly #ajv: Ajv2020;
  readonly #validators: Map<string, ValidateFunction> = new Map();

  constructor(document: OpenApi) {
    this.document = document;
    // Strict: a keyword that means nothing is an error of the document.
    this.#ajv = new Ajv2020({ strict: true, allErrors: true, allowUnionTypes: true });
    this.#ajv.addKeyword('x-role');
    this.#ajv.addVocabulary(['openapi', 'info', 'servers', 'paths', 'components', 'security']);
    this.#ajv.addSchema(document, 'api');
  }

  /** Template of a path as asked for; null: the document has none. */
  templateOf(path: string): string | null {
    const asked = path.split('?', 1)[0]!.split('/');
    const fitting = Object.keys(this.document.paths).filter((template) => {
      const levels = template.split('/');
      return (
        levels.length === asked.length &&
        levels.every((level, i) => level.startsWith('{') || level === asked[i])
      );
    });
    // `/retained/message` before `/retained/{x}`.
    return fitting.sort((a, b) => a.split('{').length - b.split('{').length)[0] ?? null;
  }

  /** Throws when the answer is not what the document says. */
  check(method: string, path: string, status: number, contentType: string, body: string): void {
    const template = this.templateOf(path);
    const what = `${method} ${template} ${status}`;
    const operation = template && this.document.paths[template]![method.toLowerCase()];
    if (!operation) {
      // No operation: then only a problem says so.
      if (status !== 404 && status !== 405 && status !== 421) throw new Error(`${what}: unknown`);
      this.#validate('#/components/schemas/Problem', JSON.parse(body), what);
      return;
    }
    const response = operation.responses[status];
    if (response === undefined) throw new Error(`${what} is not in the document: ${body}`);
    const { content } = response;
    if (content === undefined) {
      if (body !== '') throw new Error(`${what} has a body: ${body}`);
      return;
    }
    const type = contentType.split(';', 1)[0]!;
    if (content[type] === undefined) throw new Error(`${what} is ${type}`);
    const pointer = ['paths', template!, method.toLowerCase(), 'responses', status, 'content', type]
      .map((part) => String(part).replaceAll('~', '~0').replaceAll('/', '~1'))
      .map(encodeURIComponent)
      .join('/');
    const values =
      type === 'application/x-ndjson' ? body.split('\n').filter((line) => line !== '') : [body];
    for (const value of values) this.#validate(`#/${pointer}/schema`, JSON.parse(value), what);
  }

  #validate(pointer: string, value: unknown, what: string): void {
    let validate = this.#validators.get(pointer);
    if (validate === undefined) {
      validate = this.#ajv.compile({ $ref: `api${pointer}` });
      this.#validators.set(pointer, validate);
    }
    if (validate(value)) return;
    const errors = this.#ajv.errorsText(validate.errors);
    throw new Error(`${what}: ${errors}: ${JSON.stringify(value).slice(0, 500)}`);
  }
}
