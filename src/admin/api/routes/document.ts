/** /openapi.json: the description of this API; needs no token. */
import { type ApiRoute, ok } from '../route.ts';

export const documentRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/openapi.json',
    role: null,
    id: 'getOpenApi',
    summary: 'This description',
    answers: {
      200: { description: 'An OpenAPI 3.1 document.', schema: { type: 'object' } },
    },
    changes: false,
    handle: (_call, { openApi }) => ok(openApi()),
  },
];
