/** What validation found, by field and in words: JSON Schema's own speak of keywords. */
import type { FieldError } from './api/api-error.ts';

/** One fault as the validator tells it. */
export interface ValidationFault {
  readonly keyword: string;
  /** `/claims/role`; '' for the whole. */
  readonly instancePath: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly message?: string;
}

const ERRORS_MAX = 20;
const FIELD_LENGTH_MAX = 100;

export function fieldErrors(faults: readonly ValidationFault[]): FieldError[] {
  return faults.slice(0, ERRORS_MAX).map(({ keyword, instancePath, params, message = '' }) => {
    const place = instancePath.slice(1).replaceAll('/', '.');
    const inside = (name: unknown): string => (place === '' ? String(name) : `${place}.${name}`);
    if (keyword === 'additionalProperties') {
      return fault(inside(params.additionalProperty), 'is not known here');
    }
    if (keyword === 'required') return fault(inside(params.missingProperty), 'is missing');
    if (keyword === 'enum') {
      return fault(place, `is one of ${(params.allowedValues as unknown[]).join(', ')}`);
    }
    return fault(place, message);
  });
}

function fault(field: string, message: string): FieldError {
  const isLong = field.length > FIELD_LENGTH_MAX;
  return { field: isLong ? `${field.slice(0, FIELD_LENGTH_MAX)}…` : field, message };
}
